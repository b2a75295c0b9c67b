"""The sides of ``bench/meta_update.py`` that are ours, at small sizes: an update is what it is said to be."""

import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.mark.parametrize(("case", "steps"), [("MAML-TRPO", 20), ("RL2", 250), ("MT-PPO", 64)])
def test_our_sides_run_and_count_what_they_do(monkeypatch, case, steps):
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    import meta_data
    import meta_sides

    sizes = meta_data.CASES[case]._replace(tasks=2, steps=steps, hidden=(8, 8))
    step, count = {"maml": meta_sides.ours_maml, "rl2": meta_sides.ours_rl2, "ppo": meta_sides.ours_ppo}[sizes.method](sizes)
    step()
    counted = count()
    assert counted["steps"] == sizes.gradient_steps
    assert counted["products"] == (meta_data.PRODUCTS + 1 if sizes.method == "maml" else 0)
