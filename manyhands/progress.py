"""What a run shows while it goes: rates, recent episodes, what it is bound by; for the live view and for the metrics."""

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console

from manyhands.balance import ADVICE, bound_by
from manyhands.config import RunConfig
from manyhands.counters import Absorbed
from manyhands.fleet import Fleet
from manyhands.live import LiveView, Snapshot
from manyhands.rates import Rates
from manyhands.result import task_names
from manyhands.shortage import in_words

RECENT_EPISODES = 40
BALANCE_EVERY_S = 0.25
"""what a run is bound by is not reckoned more often for the view"""


class Progress:
    """Fed by the loop; draws nothing until it is given a console by ``attach``."""

    def __init__(self, config: RunConfig, run_id: str) -> None:
        self.config, self.run_id = config, run_id
        self.episodes: deque[tuple[float, bool, bool]] = deque(maxlen=RECENT_EPISODES)
        self.of_tasks: list[deque[tuple[float, bool]]] = [deque(maxlen=RECENT_EPISODES) for _ in config.tasks]
        """(K,) of each task's latest episodes: return, success at some step"""
        self.names = task_names(config.tasks)
        self.speed = Rates()
        self.evaluation, self.bound_by, self.advice, self.waiting = "", "warm-up", "", ""
        self._balanced = -BALANCE_EVERY_S
        self.elapsed_before, self.begun = 0.0, time.monotonic()
        self.view: LiveView | None = None

    def attach(self, console: Console) -> None:
        self.view = LiveView(console)

    def close(self) -> None:
        if self.view is not None:
            self.view.close()

    @property
    def elapsed_s(self) -> float:
        """Seconds of training, over all processes that continued this run."""
        return self.elapsed_before + time.monotonic() - self.begun

    def begin(self, fleet: Fleet) -> None:
        """Work begins."""
        self.speed.look(fleet.counters, rounds=fleet.on_policy)

    def count(self, absorbed: Absorbed, fleet: Fleet) -> None:
        """Takes in finished episodes and the time."""
        for report in absorbed.reports:
            for line in report.upkeep.quarantined:
                self.say(line)
            for e in report.episodes:
                self.episodes.append((e.episode_return, e.success_any, e.success_last))
                self.of_tasks[e.task].append((e.episode_return, e.success_any))
        if fleet.between_rounds():
            self.speed.look(fleet.counters, rounds=fleet.on_policy)

    def say(self, line: str) -> None:
        """Something that a person should know, once."""
        if self.view is not None:
            self.view.say(line)

    def evaluated(self, found: Mapping[str, Any]) -> None:
        """Takes in an evaluation, as ``result.Outcomes`` has it."""
        worst = f" (worst task {found['success_any_min']:.0%})" if len(self.config.tasks) > 1 else ""
        shares = f"any {found['success_any']:.0%}{worst}, last {found['success_last']:.0%}"
        self.evaluation = f"{shares} of {found['episodes']} episodes, at {found['steps']:,} steps"

    def waiting_for_compiler(self, fleet: Fleet) -> None:
        self.bound_by, self.advice, self._balanced = "compiling", "", time.monotonic()
        self.show(fleet)

    def row(self, fleet: Fleet) -> dict[str, float]:
        """Metrics of this moment."""
        counters, (steps_per_s, updates_per_s) = fleet.counters, self.speed.now() or (0.0, 0.0)
        row = {
            "actor/steps_per_s": steps_per_s,
            "learner/updates_per_s": updates_per_s,
            "learner/updates": float(counters.updates),
            "actor/episodes": float(counters.episodes),
            "actor/lost_simulators": float(counters.lost),
            "actor/restarts": float(counters.restarts),
            "actor/alive": float(len(fleet.actors) - len(fleet.crew.pending)),
            "actor/pending": float(len(fleet.crew.pending)),
            "actor/planned_restarts": float(counters.planned),
            "actor/quarantined": float(counters.quarantined),
            "lag/versions": float(counters.version - counters.acting_version),
            "replay/ratio": counters.updates / max(counters.stored - self.config.replay.min_size, 1),
            "replay/fill": self.fill(fleet),
            "replay/bytes_per_s": steps_per_s * (fleet.ring.layout.row_bytes if fleet.ring is not None else 0),
            "replay/short_tasks": float(len(fleet.short)),
            "time/elapsed_s": self.elapsed_s,
            **fleet.balance.shares().metrics(),
            **fleet.outside.metrics,
        }
        if self.episodes:
            returns, any_, last = zip(*self.episodes, strict=True)
            row |= {
                "actor/return": float(np.mean(returns)),
                "actor/success_any": float(np.mean(any_)),
                "actor/success_last": float(np.mean(last)),
            }
        return row | self._task_rows()

    def _task_rows(self) -> dict[str, float]:
        """Of each of several tasks, what its latest training episodes came to."""
        row: dict[str, float] = {}
        for name, episodes in zip(self.names, self.of_tasks, strict=True):
            if episodes and len(self.names) > 1:
                returns, any_ = zip(*episodes, strict=True)
                row |= {f"actor/{name}/return": float(np.mean(returns)), f"actor/{name}/success_any": float(np.mean(any_))}
        return row

    def fill(self, fleet: Fleet) -> float:
        """How much of replay has been written to; 0 before there is one."""
        if fleet.ring is None:
            return 0.0
        layout = fleet.ring.layout
        return min(1.0, fleet.counters.stored / (layout.capacity * layout.tasks))

    def show(self, fleet: Fleet) -> None:
        """Redraws; the view itself decides how often."""
        if self.view is None:
            return
        if time.monotonic() - self._balanced >= BALANCE_EVERY_S:
            self._balance(fleet)
        self.view.update(self._snapshot(fleet, self.config))

    def _balance(self, fleet: Fleet) -> None:
        self._balanced = time.monotonic()
        self.waiting = in_words(fleet.short, self.names)
        if self.waiting:
            self.bound_by, self.advice = "data", ""
        elif fleet.counters.updates:
            self.bound_by = bound_by(fleet.balance.shares(), fleet.balance.strict)
            self.advice = ADVICE[self.bound_by]

    def _snapshot(self, fleet: Fleet, config: RunConfig) -> Snapshot:
        counters = fleet.counters
        steps_per_s, updates_per_s = self.speed.now() or (None, None)
        returns, any_, last = zip(*self.episodes, strict=True) if self.episodes else ((), (), ())
        target, every = config.evaluation.target_success, " in every task" if len(config.tasks) > 1 else ""
        return Snapshot(
            run=self.run_id,
            task=", ".join(config.tasks),
            steps=counters.steps,
            total_steps=config.total_steps,
            steps_per_s=steps_per_s,
            updates=counters.updates,
            updates_per_s=updates_per_s,
            success_any=float(np.mean(any_)) if any_ else None,
            success_last=float(np.mean(last)) if last else None,
            episode_return=float(np.mean(returns)) if returns else None,
            replay_fill=self.fill(fleet),
            replay_rows=counters.stored,
            policy_lag=counters.version - counters.acting_version,
            bound_by=self.bound_by,
            advice=self.advice,
            waiting=self.waiting,
            restarts=counters.lost + counters.restarts,
            eta_s=(config.total_steps - counters.steps) / steps_per_s if steps_per_s else None,
            target=f"stops at {target:.0%} success of {config.evaluation.episodes} evaluation episodes{every}" if target else "",
            evaluation=self.evaluation,
        )

    def state_dict(self) -> dict[str, Any]:
        return {"elapsed_s": self.elapsed_s, "evaluation": self.evaluation}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.elapsed_before, self.evaluation = state["elapsed_s"], state["evaluation"]
