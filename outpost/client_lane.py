"""One simulator of a client: its process, with deadlines; what it last showed; the rows that it is making."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from outpost.client_child import receive, send
from outpost.client_evaluation import Played
from outpost.client_recorder import Recorder
from outpost.client_simulators import environment
from outpost.wire import Malformed

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""before a process is started again: doubled with each loss until an episode ends well"""
_HANDOVER_S = 30.0
"""for a message that has begun to arrive"""


class Step(NamedTuple):
    """What a step brought."""

    obs: dict[str, np.ndarray]
    reward: float
    terminated: bool
    truncated: bool
    success: bool


class Lane:
    """The life of one simulator. It is ``busy``, or has an observation ``shown`` to act on, or waits to be started.

    Args:
        plan: what the gateway says of the work, see ``client``.
        own: of this simulator: ``tasks`` (indices, played in turn), ``seed``, ``lane``.
        log: takes what the process prints.
    """

    def __init__(self, plan: Mapping[str, Any], own: Mapping[str, Any], recorder: Recorder, log: Path | None) -> None:
        self.plan, self.own, self.recorder, self.log = plan, own, recorder, log
        self.process: subprocess.Popen | None = None
        self.link: socket.socket | None = None
        self.shown: dict[str, np.ndarray] | None = None
        self.due = 0.0
        """monotonic: until when the answer under way must be here; 0: none is"""
        self.start_at, self.pause = 0.0, FIRST_PAUSE_S
        self.hopeless = False
        """it cannot be made here at all"""
        self.ended_here = 0
        """episodes that ended in this process"""
        self.episodes = 0
        self.task = own["tasks"][0]
        self.carry: Any = None
        self.played = 0
        """episodes of the trial under way that have ended"""
        self.trial = self.fresh = True
        self.stepping = False
        self.stuck_since = 0.0
        """monotonic: since when it may not take its next step; 0: it may"""
        self.played_for: Played | None = None
        """the episode under way, if it is of an evaluation: nothing of it goes to replay"""
        self.action, self.reward = np.zeros(plan["action_dim"], np.float32), 0.0
        self.episode_return, self.success = 0.0, False

    @property
    def busy(self) -> bool:
        return self.due > 0

    def start(self) -> None:
        """A fresh process; its first order makes the simulator."""
        ours, theirs = socket.socketpair()
        root = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        env = {**os.environ, **environment(self.plan["tasks"][self.task]), "PYTHONPATH": path}
        with theirs, open(self.log or os.devnull, "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "outpost.client_child", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=env,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self.link, self.ended_here = ours, 0
        ours.settimeout(_HANDOVER_S)

    def reset(self, number: int) -> None:
        """Sets the next episode going, with this number among the client's; another task where it plays several in turn."""
        if self.process is None:
            self.start()
        variation, tasks = self.plan["first_episode"] + self.episodes, self.own["tasks"]
        before, self.task = self.task, tasks[self.episodes % len(tasks)]
        self.trial = self.trial or self.task != before
        self.recorder.new_episode(number)
        self.episode_return, self.success, self.fresh = 0.0, False, True
        self.episodes += 1
        self.stepping = False
        self._reset(self.own["seed"], variation, self.plan["options"])

    def examine(self, played: Played) -> None:
        """Sets an episode of an evaluation going. What was under way is forgotten, also by a policy with a memory."""
        if self.process is None:
            self.start()
        self.task, seed, number = played.evaluation.episodes[played.number]
        self.played_for, self.carry, self.played, self.trial, self.fresh, self.stepping = played, None, 0, True, True, False
        self._reset(seed, number, played.evaluation.options)

    def _reset(self, seed: int, episode: int, options: Mapping[str, Any]) -> None:
        order = {"do": "reset", "task": self.plan["tasks"][self.task], "seed": seed, "options": dict(options), "episode": episode}
        self._order(order, {}, self.plan["reset_timeout_s"])

    def step(self, action: np.ndarray) -> None:
        """Sets a step going."""
        self.action, self.stepping = action, True
        self._order({"do": "step"}, {"action": action}, self.plan["step_timeout_s"])

    def _order(self, order: dict[str, Any], arrays: dict[str, np.ndarray], limit_s: float) -> None:
        assert self.link is not None
        self.shown, self.due = None, time.monotonic() + limit_s
        with suppress(OSError):  # it is gone: its hang-up will tell
            send(self.link, order, arrays)

    def answer(self) -> Step | str | None:
        """What has arrived: a step; None after a reset, which is now ``shown``; or in words why the simulator is lost."""
        assert self.link is not None
        self.due = 0.0
        try:
            header, obs = receive(self.link)
        except (EOFError, OSError, Malformed) as error:
            status = self.process.poll() if self.process else None
            return "its process is gone (%s)" % (status if status is not None else type(error).__name__)
        if "failed" in header:
            self.hopeless = not header.get("retryable", True)
            return str(header["failed"])
        if bad := self._odd(header, obs):
            return bad
        self.shown = obs
        return Step(obs, header["reward"], header["terminated"], header["truncated"], header["success"]) if self.stepping else None

    def _odd(self, header: Mapping[str, Any], obs: Mapping[str, np.ndarray]) -> str:
        """What is wrong with an answer; empty: nothing."""
        for name, shape in self.plan["shown"]:
            if name not in obs or list(obs[name].shape) != shape:
                return f"its observation has no {name} of shape {shape}"
            if obs[name].dtype.kind == "f" and not np.isfinite(obs[name]).all():
                return f"its observation {name} is not finite"
        if not np.isfinite(header.get("reward", 0.0)):
            return "its reward is not finite"
        return "terminated and truncated at once" if header.get("terminated") and header.get("truncated") else ""

    def ended(self) -> None:
        """An episode ended well."""
        self.pause = FIRST_PAUSE_S
        self.upkeep()
        self.played += 1
        self.trial = bool(self.plan["trial"]) and self.played % self.plan["trial"] == 0

    def examined(self) -> None:
        """An episode of an evaluation is over; the simulator's own trials begin anew."""
        self.played_for, self.carry, self.played, self.trial, self.shown = None, None, 0, True, None
        self.upkeep()

    def upkeep(self) -> None:
        """Between two episodes: a process that has grown old or large is ended, and another one started with the next."""
        self.ended_here += 1
        episodes, mb = self.plan.get("restart", (0, 0))
        if self.process is not None and (0 < episodes <= self.ended_here or 0 < mb <= memory_mb(self.process.pid)):
            self.kill()

    def lose(self) -> None:
        """Kills what is left of the process; it is started again after a pause."""
        self.kill()
        self.start_at, self.pause = time.monotonic() + self.pause, min(2 * self.pause, LONGEST_PAUSE_S)
        self.trial, self.carry = True, None

    def kill(self) -> None:
        """The whole process group: simulators have helpers of their own."""
        self.shown, self.due = None, 0.0
        if self.link is not None:
            self.link.close()
            self.link = None
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def memory_mb(session: int) -> float:
    """Resident memory of all processes of a session."""
    pages = 0
    for path in os.listdir("/proc"):
        if path.isdecimal():
            with suppress(OSError):  # it has just ended
                told = Path("/proc", path, "stat").read_text().rpartition(") ")[2].split()
                pages += int(told[21]) if int(told[3]) == session else 0
    return pages * os.sysconf("SC_PAGESIZE") / 2**20
