"""The learning curves of ``bench/curves.py``: evaluations of several seeds belong together by their mark, not by their number."""

import numpy as np

from tests.benches import loaded


def curves():
    return loaded("curves")


def run(*steps: int, every: int = 100) -> dict:
    curve = [{"step": step + 30, "eval/policy_step": step, "x": float(step)} for step in steps]
    return {"config": {"evaluation": {"every_steps": every}}, "curve": curve}


def test_a_missing_evaluation_shifts_nothing():
    steps, values = curves().at_grid([run(100, 200, 305, 400), run(101, 310, 399, 400)], "x")
    assert steps.tolist() == [100, 300, 400]
    np.testing.assert_array_equal(values, [[100, 305, 400], [101, 310, 400]])  # 399 was asked for by no mark
