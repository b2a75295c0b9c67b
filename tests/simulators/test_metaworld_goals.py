"""The frozen goals: what the file holds, and that Meta-World itself draws and accepts them."""

import shutil
from itertools import chain

import numpy as np
import pytest

from core.errors import ConfigError
from simulators.metaworld import goals
from simulators.metaworld.tasks import TASKS


def test_the_content_is_the_one_that_was_frozen():
    assert goals.digest(goals.frozen(goals.FILE)) == goals.SHA256


def test_shapes_and_that_nobody_can_change_them():
    for task in TASKS:
        for split in goals.SPLITS:
            vectors = goals.vectors(task, split)
            assert vectors.shape in ((50, 3), (50, 6))
            assert vectors.dtype == np.float64 and np.isfinite(vectors).all()
            with pytest.raises(ValueError, match="read-only"):
                vectors[0] = 0


def test_no_goal_occurs_twice_in_or_across_splits():
    for task in TASKS:
        both = np.concatenate([goals.vectors(task, split) for split in goals.SPLITS])
        assert len(np.unique(both, axis=0)) == 2 * goals.COUNT


def test_no_two_tasks_share_their_draws():
    """Same bounds and same seed would give the same goals, as with stock's one seed for all tasks."""
    pairs = (
        ("window-open-v3", "window-close-v3"),
        ("reach-v3", "reach-wall-v3"),
        ("push-v3", "push-wall-v3"),
        ("coffee-push-v3", "coffee-pull-v3"),
    )
    for one, two in pairs:
        numbers = [set(chain(*goals.vectors(task, "train").tolist())) for task in (one, two)]
        assert len(numbers[0] & numbers[1]) <= 6  # bounds without extent are the same number in every goal


def test_a_changed_file_is_refused(tmp_path):
    changed = dict(goals.frozen(goals.FILE))
    changed["push-v3"] = changed["push-v3"] + np.finfo(float).eps
    np.savez_compressed(tmp_path / "goals.npz", **changed)
    with pytest.raises(ConfigError, match=r"goals\.npz.*sha256.*git checkout"):
        goals.frozen(tmp_path / "goals.npz")


@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "text"])
def test_a_damaged_file_is_refused(tmp_path, damage):
    file = tmp_path / f"{damage}.npz"
    if damage == "cut":
        shutil.copy(goals.FILE, file)
        file.write_bytes(file.read_bytes()[:1000])
    elif damage != "missing":
        file.write_text("" if damage == "empty" else "goals")
    with pytest.raises(ConfigError, match="git checkout"):
        goals.frozen(file)


@pytest.mark.parametrize(("task", "split"), [("reach", "train"), ("reach-v3", "validation")])
def test_wrong_names_are_refused(task, split):
    with pytest.raises(ConfigError, match="Allowed"):
        goals.vectors(task, split)


@pytest.mark.metaworld
@pytest.mark.parametrize("task", ["push-v3", "sweep-into-v3", "drawer-close-v3"])
def test_drawn_anew_they_are_the_same(task):
    from simulators.metaworld.freeze import draw

    np.testing.assert_array_equal(draw(task), np.stack([goals.vectors(task, split) for split in goals.SPLITS]))


@pytest.mark.metaworld
def test_they_lie_within_stocks_bounds():
    from simulators.metaworld import stock

    for task in TASKS:
        env = stock.environment(task, "v2", hide_goal=False)
        space = env._random_reset_space
        for split in goals.SPLITS:
            vectors = goals.vectors(task, split)
            assert vectors.shape[1:] == space.low.shape
            assert (vectors >= space.low).all() and (vectors <= space.high).all()
        env.close()


@pytest.mark.metaworld
def test_a_vector_that_stock_would_refuse_is_found_out():
    from simulators.metaworld import stock
    from simulators.metaworld.freeze import accepted

    env = stock.environment("push-v3", "v2", hide_goal=False)
    good = goals.vectors("push-v3", "test")[0]
    bad = good.copy()
    bad[:2] = bad[3:5]  # the puck lies in the goal
    assert accepted(env, good) and not accepted(env, bad) and accepted(env, good)
    assert (good == goals.vectors("push-v3", "test")[0]).all()
