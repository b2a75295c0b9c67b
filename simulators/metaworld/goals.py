"""The frozen goals: 50 random vectors for training and 50 others for testing, for each of the 50 tasks. Data that ``reset`` reads.

They are drawn once (``simulators.metaworld.freeze``) and kept in ``goals.npz``, so that every method, seed and machine plays the same
goals, whatever version of numpy draws. Stock draws its test goals with the seed of the training goals plus one, so that what one seed
trains on another seed is tested on.
"""

import hashlib
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError, unknown
from simulators.metaworld.tasks import TASKS

Split = Literal["train", "test"]
SPLITS: tuple[Split, Split] = ("train", "test")
COUNT = 50
"""goals per task and split"""
FILE = Path(__file__).with_name("goals.npz")
"""task -> float64 (2, 50, D): train, test"""
SHA256 = "6f0a5ff7f0185296d6c1a3fc6c97e90d736b88af97720a9ea69fcb865b7d62e8"
"""of the content, see ``digest``"""


def vectors(task: str, split: str) -> NDArray[np.float64]:
    """The random vectors (50, D) of a task, D = 3 or 6, in metres: where object and goal are. Read-only; copy before giving it to stock.

    Raises:
        ConfigError: task or split is unknown, or the file is not the one that was frozen.
    """
    if task not in TASKS:
        raise unknown("task of simulator metaworld", task, TASKS)
    if split not in SPLITS:
        raise unknown("split of the frozen goals", split, SPLITS)
    return frozen(FILE)[task][SPLITS.index(split)]


@cache
def frozen(file: Path) -> dict[str, NDArray[np.float64]]:
    """All goals of a file, checked against ``SHA256``.

    Raises:
        ConfigError: the file is missing, damaged or changed.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            goals = {task: arrays[task] for task in TASKS}
        found = digest(goals)
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise _damaged(file, str(error)) from error
    if found != SHA256:
        raise _damaged(file, f"sha256 of its content is {found}, not {SHA256}")
    for array in goals.values():
        array.flags.writeable = False
    return goals


def digest(goals: Mapping[str, NDArray[np.float64]]) -> str:
    """SHA-256 of the arrays in the order of ``TASKS``: names, shapes and little-endian numbers, not the bytes of the archive."""
    content = hashlib.sha256()
    for task in TASKS:
        array = np.ascontiguousarray(goals[task], "<f8")
        content.update(f"{task} {array.shape}\n".encode())
        content.update(array.tobytes())
    return content.hexdigest()


def _damaged(file: Path, why: str) -> ConfigError:
    fix = "restore it with `git checkout simulators/metaworld/goals.npz`, or install manyhands again"
    return ConfigError(f"{file} does not hold the frozen goals of Meta-World ({why}): {fix}")
