"""Loads a script of ``bench/`` as a module, without what it adds to the path."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parents[1] / "bench"


def loaded(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    path, sys.modules[spec.name] = list(sys.path), module
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = path
    return module
