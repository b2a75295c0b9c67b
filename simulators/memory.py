"""What a pool and its workers share: actions one way, observations and results the other, and where each worker stands."""

import json
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from core.contracts import BlockArrays
from core.errors import ConfigError
from core.types import Field, Keyframes, TaskSpec

STEP, RESET, ADVANCE = b"S", b"R", b"A"
"""Commands: step every slot and reset where an episode ends; reset the slots chosen; step the slots chosen without resetting."""
DONE = b"."
"""The answer to each."""

LAUNCHING, IDLE, STEPPING, RESETTING = 0.0, 1.0, 2.0, 3.0
"""What a worker is doing, column 0 of ``progress``."""
_ALIGN = 64
"""bytes of a cache line: two workers never write to one"""


class Memory:
    """Arrays over one anonymous memory file, laid out alike on both sides. N slots, W workers.

    Args:
        fd: the file; ``size`` bytes long.
        spec: of the task.
        slots: N.
        workers: W.
    """

    def __init__(self, fd: int, spec: TaskSpec, slots: int, workers: int) -> None:
        self._buffer = mmap.mmap(fd, self.size(spec, slots, workers))
        arrays = {name: self._array(at, shape, dtype) for name, (at, shape, dtype) in _layout(spec, slots, workers)[0].items()}
        self.action, self.reward = arrays["action"], arrays["reward"]
        self.terminated, self.truncated, self.success = arrays["terminated"], arrays["truncated"], arrays["success"]
        self.variation = arrays["variation"]
        """(N,) int64, of the episode a slot is in or about to begin"""
        self.skip = arrays["skip"]
        """(N,) int64, how many variations behind it are left out when it ends"""
        self.chosen = arrays["chosen"]
        """(N,) bool, the slots RESET and ADVANCE are meant for"""
        self.progress = arrays["progress"]
        """(W, 8) float64: what the worker does, in which slot, since when (``time.monotonic``)"""
        self.obs = {field.name: arrays[f"obs/{field.name}"] for field in spec.observation}
        """(N, ...) to act on next"""
        self.closing = {field.name: arrays[f"closing/{field.name}"] for field in spec.observation}
        """(N, ...) what the last step led to"""

    def part(self, share: slice, worker: int) -> BlockArrays:
        """The slots of one worker."""
        return BlockArrays(
            action=self.action[share],
            closing={name: array[share] for name, array in self.closing.items()},
            obs={name: array[share] for name, array in self.obs.items()},
            reward=self.reward[share],
            terminated=self.terminated[share],
            truncated=self.truncated[share],
            success=self.success[share],
            progress=self.progress[worker],
            first_slot=share.start,
        )

    @staticmethod
    def size(spec: TaskSpec, slots: int, workers: int) -> int:
        """Bytes of the file."""
        return _layout(spec, slots, workers)[1]

    def _array(self, at: int, shape: tuple[int, ...], dtype: str) -> NDArray:
        return np.frombuffer(self._buffer, dtype, int(np.prod(shape)), at).reshape(shape)


def _layout(spec: TaskSpec, slots: int, workers: int) -> tuple[dict[str, tuple[int, tuple[int, ...], str]], int]:
    """Name -> (offset, shape, dtype), and the total size, both in bytes."""
    parts = {
        "progress": ((workers, 8), "float64"),
        "action": ((slots, spec.action_dim), "float32"),
        "reward": ((slots,), "float32"),
        "variation": ((slots,), "int64"),
        "skip": ((slots,), "int64"),
        **dict.fromkeys(("terminated", "truncated", "success", "chosen"), ((slots,), "bool")),
        **{f"{side}/{f.name}": ((slots, *f.shape), f.dtype) for side in ("obs", "closing") for f in spec.observation},
    }
    places, at = {}, 0
    for name, (shape, dtype) in parts.items():
        places[name] = (at, shape, dtype)
        at += -(-int(np.prod(shape)) * np.dtype(dtype).itemsize // _ALIGN) * _ALIGN
    return places, max(at, _ALIGN)


def check_alike(specs: Sequence[TaskSpec]) -> None:
    """Raises ConfigError where simulators cannot share a pool: tasks may differ, observation and action may not."""

    def io(spec: TaskSpec) -> tuple:
        return spec.observation, spec.action_dim, spec.discrete, spec.repeated, spec.keyframes

    for spec in specs:
        if io(spec) != io(specs[0]):
            names = f"{specs[0].task} and {spec.task}"
            raise ConfigError(f"{names} differ in observation or action; simulators of one pool need equal ones")


def shares(slots: int, workers: int) -> list[slice]:
    """Which consecutive slots each worker steps: as even as can be."""
    return [slice(w * slots // workers, (w + 1) * slots // workers) for w in range(workers)]


def specs_to_json(specs: Sequence[TaskSpec]) -> str:
    """One line."""
    return json.dumps({"specs": [asdict(spec) for spec in specs]})


def specs_from_json(tree: Mapping) -> list[TaskSpec]:
    """The inverse of ``specs_to_json`` after ``json.loads``."""
    return [_spec(each) for each in tree["specs"]]


def _spec(tree: Mapping) -> TaskSpec:
    fields = tuple(Field(name, tuple(shape), dtype, unit) for name, shape, dtype, unit in tree["observation"])
    labels = tuple((key, value) for key, value in tree["labels"])
    kept = labels, tree["repeated"], tree["discrete"], _keyframes(tree["keyframes"])
    return TaskSpec(tree["task"], fields, tree["action_dim"], tree["horizon"], *kept)


def _keyframes(told: Sequence | None) -> Keyframes | None:
    """JSON has lists in place of tuples."""
    if told is None:
        return None
    (x0, y0, z0, x1, y1, z1), cameras, *how = told
    return Keyframes((x0, y0, z0, x1, y1, z1), tuple(cameras), *how)
