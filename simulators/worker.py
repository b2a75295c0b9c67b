"""The child process of a pool: makes its simulators and steps them in shared memory. Run as ``python -m simulators.worker <fd>``.

It knows nothing of failures: whatever goes wrong ends the process, with the reason as the last line of its log, and the parent acts.
"""

import ctypes
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

import simulators
from core.contracts import Simulator
from core.errors import ConfigError, MissingExtra, SimulatorError
from core.types import Observation
from simulators.memory import ADVANCE, DONE, IDLE, RESET, RESETTING, STEP, STEPPING, Memory, shares, specs_to_json

PR_SET_PDEATHSIG = 1
MADE = b" "
"""is said of each simulator that was made, so that the deadline of the next begins; the parent reads it as a part of the JSON behind"""


def main() -> None:
    """Serves until the parent closes the socket or dies."""
    with open(int(sys.argv[1]), "rb") as told:
        told.seek(0)
        order = json.load(told)
    _tie_to_parent(order["parent"])
    if order["core"] is not None:
        os.sched_setaffinity(0, {order["core"]})
    line = socket.socket(fileno=order["socket"])
    names = order["names"]
    made = []
    try:
        for name, seed, options in zip(names, order["seeds"], order["options"], strict=True):
            made.append(simulators.make(name, seed, **options))
            line.sendall(MADE)
    except (ConfigError, MissingExtra) as error:
        line.sendall(json.dumps({"error": type(error).__name__, "message": str(error)}).encode() + b"\n")
        return
    line.sendall(specs_to_json([simulator.spec for simulator in made]).encode() + b"\n")
    # The parent knows the size of the memory only now; its first command says that the file has it.
    if line.recv(1):
        memory = Memory(order["memory"], made[0].spec, order["slots"], order["workers"])
        share = shares(order["slots"], order["workers"])[order["worker"]]
        Worker(names, made, memory, order["worker"], share).serve(line)
    for simulator in made:
        simulator.close()


def _tie_to_parent(parent: int) -> None:
    """The kernel kills this process when the parent dies; Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent died first")


class Worker:
    """Steps the simulators of the slots ``share``."""

    def __init__(self, names: list[str], made: list[Simulator], memory: Memory, index: int, share: slice) -> None:
        self.memory, self.share = memory, share
        self.slots = range(share.start, share.stop)
        self.simulators = dict(zip(self.slots, made, strict=True))
        self.progress: Any = memoryview(memory.progress[index])  # three times faster to write than the array
        self.fields = {field.name: field for field in made[0].spec.observation}
        self.floats = [name for name, field in self.fields.items() if np.dtype(field.dtype).kind == "f"]
        self.block = simulators.block(names, made, memory.part(share, index))

    def serve(self, line: socket.socket) -> None:
        """Obeys one-byte commands until the other end is closed."""
        obey = {STEP: self.step, RESET: self.reset, ADVANCE: self.advance}
        self._now(IDLE)
        line.sendall(DONE)
        while command := line.recv(1):
            obey[command]()
            self._now(IDLE)
            line.sendall(DONE)

    def step(self) -> None:
        """One step of every slot; where an episode ends, the next variation begins."""
        if self.block is None:
            self._step(self.slots)
        else:
            self._now(STEPPING, self.share.start)
            if not self.block.step():
                return
        memory = self.memory
        ended = memory.terminated[self.share] | memory.truncated[self.share]
        if ended.any():
            slots = (np.flatnonzero(ended) + self.share.start).tolist()
            for slot in slots:
                memory.variation[slot] += 1 + memory.skip[slot]
                self._reset(slot)
            self._check_finite(memory.obs, "first observation")

    def reset(self) -> None:
        """Begins the chosen slots' variations."""
        for slot in self._chosen():
            self._reset(slot)
            self._copy(self.memory.obs, self.memory.closing, slot)
        self._check_finite(self.memory.obs, "first observation")

    def advance(self) -> None:
        """One step of the chosen slots; an episode that ends stays ended."""
        self._step(self._chosen())

    def _chosen(self) -> list[int]:
        return [slot for slot in self.slots if self.memory.chosen[slot]]

    def _step(self, slots: Iterable[int]) -> None:
        memory, count = self.memory, 0
        for slot in slots:
            self._now(STEPPING, slot)
            obs, reward, terminated, truncated, success = self.simulators[slot].step(memory.action[slot])
            self._write(memory.closing, slot, obs)
            memory.reward[slot], memory.success[slot] = reward, success
            memory.terminated[slot], memory.truncated[slot] = terminated, truncated
            count += 1
        if count:
            self._check_finite(memory.closing, "observation")
            self._finite(memory.reward, "reward")
            self._check_ends()
            self._copy(memory.closing, memory.obs, self.share)

    def _reset(self, slot: int) -> None:
        self._now(RESETTING, slot)
        obs = self.simulators[slot].reset(int(self.memory.variation[slot]))
        for name, field in self.fields.items():
            value = np.asarray(obs[name])
            if value.shape != field.shape or value.dtype != field.dtype:
                raise self._breach(slot, f"field {name} is {value.dtype}{value.shape}, its spec says {field.dtype}{field.shape}")
        self._write(self.memory.obs, slot, obs)

    def _write(self, to: Mapping, slot: int, obs: Observation) -> None:
        for name in self.fields:
            to[name][slot] = obs[name]

    def _copy(self, source: Mapping, to: Mapping, slots: slice | int) -> None:
        for name in self.fields:
            to[name][slots] = source[name][slots]

    def _check_finite(self, observations: Mapping, what: str) -> None:
        """NaN and infinity must not reach replay: one would spoil the whole learner."""
        for name in self.floats:
            self._finite(observations[name], f"{what}, field {name},")

    def _finite(self, array: np.ndarray, what: str) -> None:
        mine = array[self.share]
        if not np.isfinite(mine).all():
            bad = np.flatnonzero(~np.isfinite(mine.reshape(len(mine), -1)).all(axis=1))[0]
            raise self._breach(self.share.start + int(bad), f"{what} is not finite")

    def _check_ends(self) -> None:
        both = self.memory.terminated[self.share] & self.memory.truncated[self.share]
        if both.any():
            raise self._breach(self.share.start + int(np.flatnonzero(both)[0]), "terminated and truncated are both true")

    def _breach(self, slot: int, what: str) -> SimulatorError:
        self._now(STEPPING, slot)
        return SimulatorError(f"contract broken in variation {self.memory.variation[slot]}: {what}", retryable=False)

    def _now(self, doing: float, slot: int = 0) -> None:
        # The time first: the parent must never see a new activity with the old one's start.
        self.progress[2] = time.monotonic()
        self.progress[1] = slot
        self.progress[0] = doing


if __name__ == "__main__":
    main()
