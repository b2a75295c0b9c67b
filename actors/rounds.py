"""Actor side of on-policy training: whole episodes of one version of the weights, the same number of every simulator, and nothing else.

Which episodes these are depends on the version alone: with P phases of E episodes, version v plays the variations v E to (v + 1) E - 1.
So the phases of a round follow each other, and whatever repeats a version, after a loss or a restart, plays the same goals again.
"""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.policy import Policy
from actors.recorder import Recorder
from actors.worker import Episode, Report
from core.contracts import ChunkSink, SimulatorStep, SteppedSimulators
from core.errors import SimulatorError
from core.types import Weights

ATTEMPTS = 5
"""at the part of one simulator; one that fails so often is a fault of the simulator, not bad luck"""


class RoundWorker:
    """See the module. A simulator that is lost plays its part again from the beginning: a policy may carry memory from episode to episode.

    Args:
        simulators: N, this actor owns and closes them.
        recorder: of whole episodes.
    """

    def __init__(self, policy: Policy, simulators: SteppedSimulators, sink: ChunkSink, recorder: Recorder) -> None:
        self.policy, self.simulators, self.sink, self.recorder = policy, simulators, sink, recorder
        N = simulators.size
        self.returns, self.success_any = np.zeros(N), np.zeros(N, bool)
        self.fresh = False
        """whether the simulators stand at the beginning of the episodes that ``variations`` says"""

    def begin(self, weights: Weights) -> None:
        self.policy.weights = weights
        self.simulators.ready()

    def collect(self, count: int, weights: Weights | None = None) -> Report:
        """Plays ``count`` whole episodes in every simulator with the same weights, and sends them.

        Raises:
            SimulatorError: not retryable; the same simulator was lost again and again.
        """
        if weights is not None:
            self.policy.weights = weights
        part = _Part(self.simulators.size, count, self.policy.version * count)
        for _ in range(ATTEMPTS):
            self._play(part)
            if not part.missing.any():
                break
        else:
            slot = int(np.flatnonzero(part.missing)[0])
            raise SimulatorError(f"simulator {slot} was lost in each of {ATTEMPTS} attempts at a round", retryable=False)
        sending = time.monotonic()
        self.sink.flush()
        part.send_s += time.monotonic() - sending
        seconds = time.monotonic() - part.began
        version, done = self.policy.version, self.simulators.upkeep()
        return Report(part.steps, part.stored, part.lost, version, part.episodes, seconds, part.simulate_s, part.send_s, done)

    def _play(self, part: "_Part") -> None:
        """One attempt at all that is missing; simulators that have delivered step along, and nothing is kept of that."""
        simulators, watch = self.simulators, self.policy.watch
        if not (self.fresh and (simulators.variations == part.first).all()):
            simulators.reset([part.first] * simulators.size)
        watch.begin(np.ones(simulators.size, bool))
        part.begin_attempt(simulators.variations)
        while part.playing.any():
            action, extra = self.policy.explore(simulators.obs)
            self.recorder.begin(simulators.obs, action, self.policy.version, extra)
            asked = time.monotonic()
            simulators.send(np.clip(action, -1.0, 1.0))
            step = simulators.recv()
            part.simulate_s += time.monotonic() - asked
            part.steps += int(part.playing.sum())
            self._take(part, step)
        self.fresh = not self.recorder.t.any()
        for slot in np.flatnonzero(self.recorder.t).tolist():
            self._new_episode(slot)

    def _take(self, part: "_Part", step: SimulatorStep) -> None:
        """Counts and records one step of every simulator."""
        self.recorder.end(step.reward, step.terminated, step.truncated, step.success)
        self.returns += step.reward
        self.success_any |= step.success
        ended = step.terminated | step.truncated | step.lost
        self.policy.watch.stepped(step.reward, ended)
        for slot in np.flatnonzero(ended).tolist():
            if part.playing[slot] and not step.lost[slot]:
                self._deliver(part, slot, step)
            elif part.playing[slot]:
                part.lost += 1
            self._new_episode(slot)
            if part.astray(slot, int(self.simulators.variations[slot])):
                self._withdraw(part, slot)

    def _deliver(self, part: "_Part", slot: int, step: SimulatorStep) -> None:
        length, last = int(self.recorder.t[slot]), bool(step.success[slot])
        part.sent[slot].append(int(self.recorder.episode[slot]))
        part.ended[slot].append(
            Episode(int(self.recorder.tasks[slot]), length, float(self.returns[slot]), bool(self.success_any[slot]), last)
        )
        chunk, sending = self.recorder.cut(slot, step.closing), time.monotonic()
        self.sink.send(chunk)
        part.send_s += time.monotonic() - sending
        part.end_episode(slot)

    def _withdraw(self, part: "_Part", slot: int) -> None:
        """What was sent of an attempt that failed."""
        for episode in part.sent[slot]:
            self.sink.discard_episode(self.recorder.writer, episode)
        part.playing[slot] = False

    def _new_episode(self, slot: int) -> None:
        self.recorder.new_episode(slot)
        self.returns[slot], self.success_any[slot] = 0.0, False

    def close(self) -> None:
        self.simulators.close()

    def state_dict(self) -> dict[str, Any]:
        """Between two calls no episode is open."""
        return {"policy": self.policy.state_dict(), "recorder": self.recorder.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.simulators.ready()
        self.policy.load_state_dict(state["policy"])
        self.recorder.load_state_dict(state["recorder"])


class _Part:
    """What one ``collect`` has to bring, and what it has so far."""

    def __init__(self, size: int, count: int, first: int) -> None:
        self.count, self.first, self.began = count, first, time.monotonic()
        self.missing, self.playing, self.done = np.ones(size, bool), np.zeros(size, bool), np.zeros(size, np.int64)
        self.sent: list[list[int]] = [[] for _ in range(size)]
        """episode numbers of the attempt under way, or of the one that succeeded"""
        self.ended: list[list[Episode]] = [[] for _ in range(size)]
        self.steps = self.lost = 0
        self.simulate_s = self.send_s = 0.0

    @property
    def episodes(self) -> list[Episode]:
        return [episode for ended in self.ended for episode in ended]

    @property
    def stored(self) -> int:
        """transitions"""
        return sum(episode.length for episode in self.episodes)

    def begin_attempt(self, variations: NDArray[np.int64]) -> None:
        self.playing = self.missing & (variations == self.first)
        self.done[self.missing] = 0
        for slot in np.flatnonzero(self.missing):
            self.sent[slot], self.ended[slot] = [], []

    def end_episode(self, slot: int) -> None:
        self.done[slot] += 1
        if self.done[slot] == self.count:
            self.playing[slot] = self.missing[slot] = False

    def astray(self, slot: int, variation: int) -> bool:
        """Whether a simulator that still plays is in another episode than its next: it was lost, or could not begin that one."""
        return bool(self.playing[slot]) and variation != self.first + self.done[slot]
