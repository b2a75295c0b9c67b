"""Which seeds learn where, before anything starts: seeds spread over devices, learner processes over each device, cores over processes."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from core.errors import ConfigError

T = TypeVar("T")
CPU = "cpu"
RESERVE = 0.1
"""share of a GPU's memory that several learner processes leave to CUDA itself"""


class Lane(NamedTuple):
    """Where one group at a time goes on."""

    device: str
    """``cpu``, or ``cuda:1``"""
    cores: tuple[int, ...]
    """that its processes may use"""
    memory_fraction: float
    """of the device; 1 where its learner has it for itself"""


class Group(NamedTuple):
    """Seeds that begin together; where they are several, one learner has them all."""

    device: str
    seeds: tuple[int, ...]


class Placement(NamedTuple):
    """Groups wait for a free lane of their device, in this order."""

    lanes: tuple[Lane, ...]
    groups: tuple[Group, ...]
    chosen: bool = False
    """a person named the devices; otherwise learners on a CPU keep their own setting"""

    @property
    def at_once(self) -> int:
        """Seeds that may be under way at the same time."""
        return sum(max(len(group.seeds) for group in self.groups if group.device == lane.device) for lane in self.lanes)

    def describe(self) -> list[str]:
        """The plan as lines."""
        lines = []
        for lane in self.lanes:
            cores = f"{len(lane.cores)} {'core' if len(lane.cores) == 1 else 'cores'} ({_ranges(lane.cores)})"
            part = "" if lane.memory_fraction == 1 else f", {lane.memory_fraction:.0%} of its memory"
            lines.append(f"{lane.device}: one group at a time on {cores}{part}")
        for group in self.groups:
            what = f"seeds {_ranges(group.seeds)}, stacked in one learner" if len(group.seeds) > 1 else f"seed {_ranges(group.seeds)}"
            lines.append(f"{group.device}: {what}")
        return lines


def place(
    seeds: Sequence[int], devices: Sequence[str], cores: Sequence[int], stack: int | None, per_device: int, at_once: int = 0
) -> Placement:
    """Seeds evenly over the devices, in their order.

    Args:
        devices: ``cpu``, or ``cuda:0``, ``cuda:1``, ...
        cores: that all this may use together.
        stack: seeds of one learner at most; 0 and 1: each its own; None: each its own on a CPU, all of a learner process on a GPU.
        per_device: learner processes at the same time on a GPU.
        at_once: seeds at the same time, at most; 0: on a CPU one group per core, on GPUs ``per_device`` groups each.

    Raises:
        ConfigError: a stack has more seeds than may be under way.
    """
    devices = list(devices)[: len(seeds)]
    groups: list[list[Group]] = []
    for device, mine in zip(devices, split(seeds, len(devices)), strict=True):
        size = _group_size(len(mine), device, stack, per_device, at_once and max(1, at_once // len(devices)))
        groups.append([Group(device, part) for part in split(mine, -(-len(mine) // size))])
    largest = max(len(group.seeds) for own in groups for group in own)
    room = at_once // largest if at_once else len(seeds)
    if room == 0:
        raise ConfigError(
            f"--at-once is {at_once} but {largest} seeds of a stack begin together; fix: --at-once {largest}, or --stack {at_once}"
        )
    if room < len(devices):
        return place(seeds, devices[:room], cores, stack, per_device, at_once)
    counts = [min(len(own), (at_once or len(cores)) if device == CPU else per_device) for device, own in zip(devices, groups, strict=True)]
    turns = [(turn, device) for turn in range(max(counts)) for device, count in zip(devices, counts, strict=True) if turn < count][:room]
    lanes = []
    for (_, device), own in zip(turns, share(cores, len(turns)), strict=True):
        processes = sum(other == device for _, other in turns)
        lanes.append(Lane(device, own, 1.0 if device == CPU or processes == 1 else (1 - RESERVE) / processes))
    return Placement(tuple(lanes), tuple(group for own in groups for group in own))


def _group_size(seeds: int, device: str, stack: int | None, per_device: int, at_once: int) -> int:
    if stack is not None:
        return max(1, stack)
    if device == CPU:
        return 1
    size = -(-seeds // per_device)
    return max(1, min(size, at_once // per_device)) if at_once else size


def split(items: Sequence[T], parts: int) -> list[tuple[T, ...]]:
    """Consecutive parts whose lengths differ by one at most."""
    n = len(items)
    return [tuple(items[n * i // parts : n * (i + 1) // parts]) for i in range(parts)]


def share(cores: Sequence[int], processes: int) -> list[tuple[int, ...]]:
    """Cores for each process: its own, evenly; where there are fewer cores than processes, one each, in turn."""
    if processes <= len(cores):
        return split(cores, processes)
    return [(cores[i % len(cores)],) for i in range(processes)]


def devices_of(text: str, setting: str, gpus: int) -> list[str]:
    """What ``--devices`` means here.

    Args:
        setting: ``learner.device``, which decides where ``text`` is auto.
        gpus: that this machine has.

    Raises:
        ConfigError: not a list of GPUs that are there.
    """
    if text == "auto":
        if setting.startswith("cuda:"):
            return devices_of(setting.removeprefix("cuda:"), setting, gpus)
        if setting == "cuda" and not gpus:
            raise ConfigError("learner.device is cuda but this machine has no GPU that torch can use; allowed here: auto, cpu")
        return [CPU] if setting == CPU or not gpus else [f"cuda:{i}" for i in range(gpus)]
    if text == CPU:
        return [CPU]
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise ConfigError(f"--devices is {text!r}; write auto, cpu, or the numbers of GPUs, each once: 0,1,3")
    for part in parts:
        if int(part) >= gpus:
            there = f"there are {_ranges(range(gpus))}" if gpus > 1 else "there is only 0" if gpus else "there is none"
            raise ConfigError(f"--devices names GPU {part}, but of the GPUs that torch can use {there}; allowed: auto, cpu, or those")
    return [f"cuda:{int(part)}" for part in parts]


def visible(device: str, environment: str | None) -> str | None:
    """CUDA_VISIBLE_DEVICES for a process that is to see this device only; ``environment`` is this process's own, None where unset."""
    if device == CPU:
        return environment
    index = int(device.removeprefix("cuda:"))
    return environment.split(",")[index] if environment else str(index)


def _ranges(numbers: Sequence[int]) -> str:
    """0, 1, 2, 5 -> ``0-2, 5``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)
