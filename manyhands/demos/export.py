"""Demonstrations for others' tools: each becomes rows of an observation and the pose to go to from there; a format writes them.

What has no place in rows is lost: the motion between observed frames, and with it even time steps.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core import demofile
from core.demos import Demo
from core.errors import ConfigError, DemoError
from manyhands import __version__

Action = Literal["next-keyframe", "next-frame"]
NUMBERS = ("x", "y", "z", "qx", "qy", "qz", "qw", "open")
"""of an action"""


class Rows(NamedTuple):
    """A demonstration as n rows: its observed frames but the last, from which nothing is done."""

    source: str
    """its file, ``blocks/touch/000.demo``"""
    task: str
    words: str
    """the task in words"""
    frames: NDArray
    """(n,) int64, of the demonstration: how far apart rows are"""
    observations: Mapping[str, NDArray]
    """(n, ...): ``state``, which is ``obs`` without the time, and every other field"""
    action: NDArray
    """(n, 8) float64: the pose to go to, metres and quaternion xyzw in the world, and how the gripper is there, 1 open, 0 closed"""
    expert: NDArray | None
    """(n, A) float32, what the expert did to get to the next keyframe, in [-1, 1], where the demonstration says it"""
    reward: NDArray
    """(n,) float32: 1 in the last row of a demonstration that succeeded"""
    done: NDArray
    """(n,) bool: the last row"""
    success: bool
    info: Mapping[str, str]


Write = Callable[[Path, Iterable[Rows], Mapping[str, str]], int]
"""Writes all to a folder, which is there and empty, with what is said of them all; returns how many rows there are."""


def rows(demo: Demo, action: Action, source: str = "") -> Rows:
    """The demonstration as rows.

    Args:
        action: ``next-keyframe``: the pose of the first keyframe behind a row's frame; ``next-frame``: of the next observed frame.

    Raises:
        DemoError: it has one observed frame only.
    """
    frames = demo.frames[:-1]
    if not len(frames):
        raise DemoError(f"{source} has one observed frame: nothing is done in it")
    ahead = np.searchsorted(demo.keyframes, frames, side="right")
    targets = demo.keyframes[ahead] if action == "next-keyframe" else demo.frames[1:]
    poses, opened = demo.motion["gripper_pose"][targets], demo.motion["gripper_open"][targets]
    observations = {"state" if name == "obs" else name: values[:-1] for name, values in demo.observations.items()}
    observations["state"] = observations["state"][:, :-1]  # its last number is the time, which a file cannot have
    done = np.arange(len(frames)) == len(frames) - 1
    return Rows(
        source=source,
        task=demo.task,
        words=in_words(demo),
        frames=frames,
        observations=observations,
        action=np.concatenate([poses, opened[:, None]], axis=1).astype(np.float64),
        expert=None if demo.actions is None else demo.actions[ahead],
        reward=(done & demo.success).astype(np.float32),
        done=done,
        success=demo.success,
        info=demo.info,
    )


def in_words(demo: Demo) -> str:
    """The description that a demonstration of RLBench carries, else the task's name: ``rlbench:push_button`` is ``push button``."""
    return demo.info.get("description", "").strip() or demo.task.partition(":")[2].replace("_", " ").replace("-", " ")


def export(files: Sequence[Path], out: Path, action: Action, write: Write) -> tuple[int, int]:
    """Writes a data set to a folder: the whole, or nothing.

    Args:
        write: of the format.

    Returns:
        How many demonstrations and rows there are.

    Raises:
        ConfigError: the folder is there and not empty.
        DemoError: a demonstration is damaged or does not go with the others, or the data set cannot be written.
        MissingExtra: the package of the format is not installed.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"--out {out} is there and not an empty folder. Fix: another one")
    part = out.absolute().parent / f".{out.absolute().name}.{secrets.token_hex(4)}"
    about = {"made_by": "manyhands demos export", "manyhands": __version__, "action": action, "action_numbers": " ".join(NUMBERS)}
    try:
        part.mkdir(parents=True)
        count = write(part, _alike(files, action), about)
        os.replace(part, out)
    except OSError as error:
        raise DemoError(f"{out} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return len(files), count


def _alike(files: Sequence[Path], action: Action) -> Iterator[Rows]:
    """The rows of one after the other; of all the fields have to be those of the first."""
    first: Rows | None = None
    for path in files:
        made = rows(demofile.read(path), action, "/".join(path.parts[-3:]))
        if first is not None and (other := _different(first, made)):
            raise DemoError(f"{path} does not go with {first.source}: {other}. Fix: export them one by one")
        first = first or made
        yield made


def _different(one: Rows, other: Rows) -> str:
    """What of two demonstrations has another name, shape or type; empty where nothing."""
    a, b = (_shapes(each) for each in (one, other))
    for name in sorted(a.keys() | b.keys()):
        if a.get(name) != b.get(name):
            return f"{name} is {b.get(name, 'missing')}, there {a.get(name, 'missing')}"
    return ""


def _shapes(made: Rows) -> dict[str, str]:
    arrays = {**made.observations, **({} if made.expert is None else {"actions": made.expert})}
    return {name: f"{values.dtype}{list(values.shape[1:])}" for name, values in arrays.items()}
