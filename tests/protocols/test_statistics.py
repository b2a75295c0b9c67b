"""Statistics over seeds and tasks, held against stored outputs of rliable (``data/make_rliable.py``)."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from core.errors import ConfigError
from protocols.statistics import (
    aggregates,
    average_profile,
    estimate,
    iqm,
    mean,
    median,
    optimality_gap,
    probability_of_improvement,
    profile,
    resample,
    wilson_interval,
)

STORED = json.loads((Path(__file__).parent / "data" / "rliable.json").read_text())
MATRICES, TAUS = STORED["matrices"], STORED["taus"]
NAMES = sorted(MATRICES)
REPS = 20000
STEP = 0.01
"""how far two bootstraps of 20,000 may differ; a wrong stratification is off by several of it, see below"""
STATISTICS = {
    "mean": mean,
    "median": median,
    "iqm": iqm,
    "optimality_gap": optimality_gap,
    "optimality_gap_half": partial(optimality_gap, gamma=0.5),
}


def scores(name: str) -> np.ndarray:
    return np.array(MATRICES[name]["scores"])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def off(bounds, stored) -> float:
    """The larger error of the two bounds."""
    return float(np.abs(np.array(bounds) - stored).max())


def test_the_stored_outputs_say_what_made_them():
    assert STORED["made_by"]["rliable"] == "1.2.0"
    assert STORED["made_by"]["reps"] == REPS


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("statistic", sorted(STATISTICS))
def test_statistics_and_intervals_are_those_of_rliable(name, statistic):
    made, stored = estimate(STATISTICS[statistic], scores(name), rng=rng(), reps=REPS), MATRICES[name]
    assert made.value == pytest.approx(stored["point"][statistic], abs=1e-12)
    assert off([made.low, made.high], stored["interval"][statistic]) < STEP


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("key", "function"), [("profile", profile), ("average_profile", average_profile)])
def test_profiles_are_those_of_rliable(name, key, function):
    made, stored = estimate(partial(function, taus=TAUS), scores(name), rng=rng(), reps=REPS), MATRICES[name][key]
    np.testing.assert_allclose(made.value, stored["point"], atol=1e-12)
    grain = 1 / scores(name).size if key == "profile" else 0  # quantiles of a discrete distribution may flip by one value
    assert off([made.low, made.high], stored["interval"]) < grain + STEP / 2


@pytest.mark.parametrize("pair", STORED["pairs"], ids=lambda pair: f"{pair['x']}-{pair['y']}")
def test_probability_of_improvement_is_that_of_rliable(pair):
    x, y = scores(pair["x"]), scores(pair["y"])
    made = estimate(probability_of_improvement, x, y, rng=rng(), reps=REPS)
    assert made.value == pytest.approx(pair["point"], abs=1e-12)
    assert off([made.low, made.high], pair["interval"]) < STEP
    assert probability_of_improvement(y, x) == pytest.approx(1 - made.value)


@pytest.mark.parametrize("wrong", ["pooled", "joint"])
def test_another_way_to_resample_would_be_noticed(wrong):
    """Pooled: over tasks as well. Joint: the same seeds in every task. Each is off by far more than the tolerance."""
    x = scores("correlated")
    S, K = x.shape
    drawn = rng().choice(x.ravel(), (REPS, S, K)) if wrong == "pooled" else x[rng().integers(S, size=(REPS, S))]
    for name in ("mean", "iqm", "optimality_gap"):
        bounds = np.quantile(STATISTICS[name](drawn), (0.025, 0.975))
        assert off(bounds, MATRICES["correlated"]["interval"][name]) > 3 * STEP


def test_a_resample_keeps_tasks_apart_and_draws_them_independently():
    x = np.arange(12.0).reshape(3, 4)
    drawn = resample(x, 5000, rng())
    assert (drawn % 4 == np.arange(4)).all(), "a score never leaves its task"
    seeds = drawn // 4
    assert np.bincount(seeds.astype(int).ravel()) / seeds.size == pytest.approx([1 / 3] * 3, abs=0.01)
    together = np.corrcoef(seeds[:, 0, :].T) - np.eye(4)
    assert np.abs(together).max() < 0.06


def test_together_and_alone_are_the_same():
    made = aggregates(scores("rival"), rng(4), gamma=0.5)
    for name, statistic in STATISTICS.items():
        if name != "optimality_gap":
            alone = estimate(statistic, scores("rival"), rng=rng(4))
            assert made[name.removesuffix("_half")] == tuple(map(pytest.approx, alone))


def test_statistics_reduce_the_last_two_axes_only():
    x = rng().random((6, 7, 5, 3))
    for statistic in (*STATISTICS.values(), partial(profile, taus=TAUS), partial(average_profile, taus=TAUS)):
        np.testing.assert_allclose(statistic(x)[2, 3], statistic(x[2, 3]))
    np.testing.assert_allclose(probability_of_improvement(x, x[..., :2, :])[2, 3], probability_of_improvement(x[2, 3], x[2, 3, :2]))


@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_a_missing_seed_is_refused_and_named(hole):
    x = scores("rival").copy()
    x[3, 6] = hole
    with pytest.raises(ConfigError, match="seed 3 of task 6"):
        aggregates(x, rng())
    with pytest.raises(ConfigError, match="seed 3 of task 6"):
        estimate(probability_of_improvement, scores("rival"), x, rng=rng())


@pytest.mark.parametrize("wrong", [np.zeros(4), np.zeros((0, 4)), np.zeros((2, 2, 2))])
def test_what_is_no_matrix_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"\(seeds, tasks\)"):
        estimate(mean, wrong, rng=rng())


def test_methods_on_other_tasks_and_impossible_levels_are_refused():
    with pytest.raises(ConfigError, match="same tasks"):
        estimate(probability_of_improvement, scores("rival"), scores("binary"), rng=rng())
    with pytest.raises(ConfigError, match="level"):
        estimate(mean, scores("rival"), rng=rng(), level=95)


def test_wilsons_interval():
    """Newcombe (1998), table I: 81 of 263, and 0 of 20."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0, 0.1611), abs=1e-4)


@pytest.mark.parametrize("n", [1, 7, 10, 50, 333])
def test_an_interval_of_a_share_stays_a_share(n):
    for successes in (0, n // 2, n):
        low, high = wilson_interval(successes, n)
        assert 0.0 <= low <= successes / n <= high <= 1.0
        assert f"{low:.0%}"[0] != "-"
