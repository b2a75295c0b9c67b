"""The learning curves of ``bench/curves.py``: evaluations of several seeds belong together by their mark, not by their number."""

import importlib.util
import sys
from pathlib import Path

import numpy as np

BENCH = Path(__file__).resolve().parents[1] / "bench"


def curves():
    spec = importlib.util.spec_from_file_location("bench_curves", BENCH / "curves.py")
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = path
    return module


def run(*steps: int, every: int = 100) -> dict:
    curve = [{"step": step + 30, "eval/policy_step": step, "x": float(step)} for step in steps]
    return {"config": {"evaluation": {"every_steps": every}}, "curve": curve}


def test_a_missing_evaluation_shifts_nothing():
    steps, values = curves().at_grid([run(100, 200, 305, 400), run(101, 310, 399, 400)], "x")
    assert steps.tolist() == [100, 300, 400]
    np.testing.assert_array_equal(values, [[100, 305, 400], [101, 310, 400]])  # 399 was asked for by no mark
