"""The pages of the benches that measure updates in turns are what their stored figures make."""

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.mark.parametrize("name", ["sac", "mt", "meta", "pearl"])
def test_a_stored_page_is_made_of_the_stored_figures(monkeypatch, name):
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    result = json.loads((BENCH / f"results/{name}_update.json").read_text())
    assert import_module(f"{name}_report").markdown(result) == (BENCH / f"results/{name}_update.md").read_text()
