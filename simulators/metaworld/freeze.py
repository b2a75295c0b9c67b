"""Draws the frozen goals anew and writes ``goals.npz``: ``python -m simulators.metaworld.freeze``. The same numbers each time.

A goal is what stock's own reset draws, uniformly from ``env._random_reset_space`` and again while the object is too near the goal. Each
task has one seed for training and one for testing, both leaves of a tree of names, so no two of them are neighbours as stock's are.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.seeding import SeedTree
from simulators.metaworld import stock
from simulators.metaworld.goals import COUNT, FILE, SHA256, SPLITS, digest
from simulators.metaworld.tasks import TASKS

ROOT = SeedTree(0).child("metaworld goals")


class Refused(Exception):  # noqa: N818 - an answer, not an error
    """Stock does not take a vector: it asks for another one."""


def draw(task: str) -> NDArray[np.float64]:
    """The goals of a task, float64 (2, 50, D): train, test; all different, all accepted by a real reset."""
    env = stock.environment(task, "v2", hide_goal=False)
    try:
        with stock.hand_left_alone(env):
            goals = np.stack([_draw(env, ROOT.child(task).child(split).integer()) for split in SPLITS])
        _check(task, env, goals)
    finally:
        env.close()
    return goals


def accepted(env: Any, vector: NDArray[np.float64]) -> bool:
    """Whether a reset takes this vector as it is. With a frozen one that it refuses, stock's loop would never end."""
    env._get_state_rand_vec = _once(vector)
    try:
        env.reset_model()
    except Refused:
        return False
    finally:
        del env._get_state_rand_vec
    return True


def _draw(env: Any, seed: int) -> NDArray[np.float64]:
    """(50, D), one after the other from one seed."""
    env._freeze_rand_vec = False
    env.seed(seed)
    vectors = []
    for _ in range(COUNT):
        env.reset_model()
        vectors.append(env._last_rand_vec.copy())
    return np.array(vectors, np.float64)


def _once(vector: NDArray[np.float64]) -> Callable[[], NDArray[np.float64]]:
    given = iter((vector.copy(),))

    def give() -> NDArray[np.float64]:
        for only in given:
            return only
        raise Refused

    return give


def _check(task: str, env: Any, goals: NDArray[np.float64]) -> None:
    flat = goals.reshape(-1, goals.shape[-1])
    if len(np.unique(flat, axis=0)) != len(flat):
        raise RuntimeError(f"{task}: two goals are equal")
    if not all(accepted(env, vector) for vector in flat):
        raise RuntimeError(f"{task}: a reset refuses a vector that it drew")


def main() -> None:
    """Writes the file and says its hash."""
    goals = {task: draw(task) for task in TASKS}
    np.savez_compressed(FILE, allow_pickle=False, **goals)
    found = digest(goals)
    verdict = "as before" if found == SHA256 else "not SHA256 of simulators/metaworld/goals.py"
    sys.stdout.write(f"{FILE.name} {found} ({verdict})\n")


if __name__ == "__main__":
    main()
