"""The client: steps simulators where they are installed, with the policy of a run elsewhere, and streams what happens to its gateway.

One loop, no threads: give every simulator that waits its next step, wait for answers, cut chunks, exchange with the gateway. Simulators
have processes of their own. The gateway says what is to be done, the *plan*:

    tasks, options, first_episode       names, options of the simulators, number of each simulator's first episode
    lanes                               of each simulator: ``tasks`` that it plays in turn, ``seed``, ``lane``
    row, layout, observed, frame        type of replay's rows, its fingerprint, see ``client_recorder``
    shown                               [name, shape] of what a simulator has to show
    chunk, horizon, action_dim, trial   transitions per chunk, longest episode, A, episodes of a trial (0: endless)
    policy, seed, random_steps          what acts; seed of exploration; env steps at the start that act at random
    step_timeout_s, reset_timeout_s     deadlines
    restart                             episodes, and MB, after which a simulator's process is replaced between two episodes; 0: never
    window                              chunks that may be unacknowledged

For an evaluation a simulator turns to the episodes on offer when its own episode ends, or when it has waited for its next step for a while:
then that episode is withdrawn. See ``client_evaluation``.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from outpost import Failed
from outpost.client_lane import Lane, Step
from outpost.client_policies import make
from outpost.client_recorder import Recorder
from outpost.client_uplink import Uplink

IDLE_S = 0.5
BUSY_S = 0.05
"""longest waits, with nothing to do and with simulators at work"""
STUCK_S = 1.0
"""for which a simulator waits to go on with its episode before it gives that up for one of an evaluation"""
MOST_TOLD = 64


class Client:
    """See the module. ``run`` works until ``stopping`` is set, or the run is over.

    Args:
        logs: folder for what simulators print; None: nowhere.
        stay: waits for the next run when one is over.
    """

    def __init__(self, uplink: Uplink, say: Callable[[str], None], logs: Path | None = None, stay: bool = False) -> None:
        self.uplink, self.say, self.logs, self.stay = uplink, say, logs, stay
        self.stopping = False
        self.lanes: list[Lane] = []
        self.discarded: list[int] = []
        """latest episodes that were lost with their simulators"""

    def run(self) -> None:
        """Raises Failed where this client is not wanted."""
        try:
            while not self.stopping:
                self.turn()
                if self.uplink.order is not None and self.uplink.order.over and not self.stay:
                    self.say("the run is over")
                    break
        finally:
            self.drop()
            self.uplink.leave()

    def turn(self) -> None:
        """One round of the loop."""
        now = time.monotonic()
        busy = any(lane.busy for lane in self.lanes)
        idle = not busy and not self._startable(now)
        pause = self.uplink.exchange(IDLE_S if idle else 0.0)
        if self.uplink.adopt():
            self._take_up()
            return
        if self.uplink.version >= 0:
            for lane in self.lanes:
                self._go(lane, time.monotonic())
        self._listen(min(pause, IDLE_S) if idle else BUSY_S)

    def _startable(self, now: float) -> bool:
        """Whether anything can be done without a word of the gateway."""
        return self.uplink.version >= 0 and any(
            lane.played_for is not None or self.uplink.may_step() if lane.shown is not None else lane.start_at <= now
            for lane in self.lanes
            if not lane.busy
        )

    # ---- the work -----------------------------------------------------------------------------------------------------

    def _take_up(self) -> None:
        """Begins the work that the order is about."""
        self.drop()
        order = self.uplink.order
        if order is None or not order.run:
            return
        self.plan, (_, self.writer, self.incarnation) = order.plan, self.uplink.session
        self.policy = make(self.plan["policy"])
        self.noise = np.random.default_rng([self.plan["seed"], self.incarnation])
        self.random_steps, self.next_episode, self.discarded = self.plan["random_steps"], self.plan["first_episode"], []
        for slot, own in enumerate(self.plan["lanes"]):
            recorder = Recorder(self.plan, self.writer, slot, len(self.plan["lanes"]))
            log = self.logs / (f"simulator-{slot}.log") if self.logs else None
            self.lanes.append(Lane(self.plan, own, recorder, log))
        names = ", ".join(sorted({self.plan["tasks"][task] for own in self.plan["lanes"] for task in own["tasks"]}))
        self.say(f"{len(self.lanes)} simulators of {names}, as writer {self.writer} incarnation {self.incarnation}")

    def drop(self) -> None:
        """Ends all simulators."""
        for lane in self.lanes:
            lane.kill()
        self.lanes = []

    def _go(self, lane: Lane, now: float) -> None:
        """Whatever a simulator waits for, if it may have that."""
        if lane.busy:
            if now > lane.due and not _readable([lane], 0):
                self._lose(lane, "no answer in time")
        elif lane.shown is None:
            if lane.start_at <= now and not self._examine(lane):
                lane.reset(self.next_episode)
                self.next_episode += 1
        elif lane.played_for is not None:
            self._show(lane)
        elif self.uplink.may_step():
            lane.stuck_since = 0.0
            self._act(lane)
        else:
            lane.stuck_since = lane.stuck_since or now
            if now - lane.stuck_since > STUCK_S:
                self._examine(lane)

    def _examine(self, lane: Lane) -> bool:
        """Whether there is an episode of an evaluation to play, which then is under way."""
        played = self.uplink.evaluations.take(self.uplink.session[0])
        if played is None:
            return False
        if lane.shown is not None and lane.recorder.t:
            self.discarded.append(lane.recorder.episode)
        lane.stuck_since = 0.0
        lane.examine(played)
        return True

    def _show(self, lane: Lane) -> None:
        """A step of an evaluation: what the policy would do without exploring."""
        assert lane.shown is not None and lane.played_for is not None
        params = lane.played_for.evaluation.params
        actions, lane.carry, _ = self.policy.act(params, lane.carry, self._seen(lane, lane.shown), None)
        lane.step(np.clip(np.asarray(actions[0], np.float32), -1.0, 1.0))

    def _act(self, lane: Lane) -> None:
        assert lane.shown is not None
        columns: dict[str, Any] = {}
        if self.random_steps > 0:
            self.random_steps -= 1
            action = self.noise.uniform(-1.0, 1.0, lane.action.shape).astype(np.float32)
            lane.trial = True  # a policy with a memory finds none when its turn comes
        else:
            noise = self.noise.standard_normal((1, self.policy.noise_dim), dtype=np.float32)
            actions, lane.carry, made = self.policy.act(self.uplink.params, lane.carry, self._seen(lane, lane.shown), noise)
            action, columns = np.asarray(actions[0], np.float32), {name: value[0] for name, value in made.items()}
        lane.recorder.begin(lane.shown, action, self.uplink.version, columns)
        self.uplink.taken += 1
        lane.step(action)

    def _seen(self, lane: Lane, obs: dict[str, np.ndarray], acting: bool = True) -> dict[str, Any]:
        """What the policy is told of one simulator: ``core.types.Seen`` by name. Not ``acting``: of an observation that ends an episode."""
        begins = lane.trial and acting
        fields = {name: np.asarray(value)[None] for name, value in obs.items()}
        return {
            "obs": fields["obs"],
            "tasks": np.array([lane.task]),
            "lanes": np.array([0 if lane.played_for else lane.own["lane"]]),  # where parameters have lanes, all are judged by the first
            "trial": np.array([begins]),
            "episode": np.array([acting and (lane.fresh or begins)]),
            "action": np.zeros_like(lane.action)[None] if begins else lane.action[None],
            "reward": np.array([0.0 if begins else lane.reward], np.float32),
            "fields": fields,
        }

    # ---- answers ------------------------------------------------------------------------------------------------------

    def _listen(self, limit_s: float) -> None:
        """Waits for answers of simulators, not for long, and takes in those that came."""
        for lane in _readable([lane for lane in self.lanes if lane.busy], limit_s):
            found = lane.answer()
            if isinstance(found, str):
                if lane.hopeless:
                    raise Failed(found)
                self._lose(lane, found)
            elif found is not None:
                self._stepped(lane, found)

    def _stepped(self, lane: Lane, step: Step) -> None:
        if lane.played_for is not None:
            lane.reward, lane.trial, lane.fresh = step.reward, False, False
            if came := lane.played_for.count(step):
                self.uplink.evaluations.told(lane.played_for, came)
                lane.examined()
            return
        recorder, ended = lane.recorder, step.terminated or step.truncated
        recorder.end(step.reward, step.terminated, step.truncated, step.success)
        lane.episode_return += step.reward
        lane.success = lane.success or step.success
        lane.reward, lane.trial, lane.fresh = step.reward, False, False
        if recorder.full() or ended:
            rows = recorder.cut(self._closing(lane, step))
            told = [recorder.t, lane.episode_return, int(lane.success), int(step.success)] if ended else []
            self.uplink.send(lane.task, rows, told, self.discarded[-MOST_TOLD:])
        if ended:
            lane.shown = None
            lane.ended()

    def _closing(self, lane: Lane, step: Step) -> dict[str, Any]:
        """The observation that closes a chunk, encoded where the algorithm does that; nothing is expected after a terminal state."""
        encoded = {} if step.terminated else self.policy.encode(self.uplink.params, self._seen(lane, step.obs, acting=False))
        return {**step.obs, **{name: value[0] for name, value in encoded.items()}}

    def _lose(self, lane: Lane, reason: str) -> None:
        """A simulator is lost, with its episode; what of that was sent already is withdrawn."""
        task = self.plan["tasks"][lane.task]
        lane.lose()
        self.say(f"a simulator of {task} is lost: {reason}; again in {max(0.0, lane.start_at - time.monotonic()):.0f} s")
        self.uplink.lost += 1
        if lane.played_for is not None:
            self.uplink.evaluations.told(lane.played_for, {}, reason)
            lane.examined()
        else:
            self.discarded.append(lane.recorder.episode)


def _readable(lanes: list[Lane], limit_s: float) -> list[Lane]:
    """Those whose answers begin to arrive."""
    links = {lane.link: lane for lane in lanes if lane.link is not None}
    return [links[link] for link in select.select(list(links), [], [], limit_s)[0]]
