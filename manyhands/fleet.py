"""The components of one run, started on a backend, and what the training loop asks of them."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from actors.worker import Report
from core.types import Rounds, Stream, TaskSpec, Weights
from learner.device import choose
from manyhands import build, gateway, gateway_evaluator
from manyhands.backends import Backend, ComponentDied
from manyhands.balance import Balance
from manyhands.config import RunConfig
from manyhands.counters import Absorbed, Counters
from manyhands.crew import Crew
from manyhands.demos import of_run
from manyhands.recovery import Recovery
from manyhands.shortage import Short, short_tasks
from manyhands.stack import learner_factory
from protocols.evaluator import Evaluation, Unplayed
from replay.demos import demo_file
from replay.ingest import ring_file
from replay.memory import sweep
from replay.ring import Ring

EVALUATOR = "evaluator"
STOP_CHECK_S = 0.5


class Fleet:
    """Names: ``ingest``, ``learner``, ``actor-i``, ``evaluator``. At most one call per component is under way.

    Args:
        folder: of the run; worker output goes below ``logs``.
    """

    def __init__(self, config: RunConfig, spec: TaskSpec, backend: Backend, run_id: str, folder: Path) -> None:
        self.config, self.spec, self.backend, self.run_id = config, spec, backend, run_id
        self.folder = folder.absolute()  # components may live in another working directory
        self.counters = Counters()
        self.actors = [f"actor-{i}" for i in range(config.actors.actors)] + [gateway.NAME] * (config.gateway.clients > 0)
        self.incarnations = dict.fromkeys(self.actors, 0)
        self.outside = gateway.Outside(config, run_id, self.folder)
        self.running: dict[str, Any] = {}
        self.crew = Crew(config, spec, backend, self.actors, self.outside, self.folder / "logs")
        self.ring: Ring | None = None
        self.demos: Ring | None = None
        """the run's demonstrations, where it has any"""
        self.weights: Weights
        """what actors act with"""
        self.policy: Weights
        """what is evaluated and kept: the same, but for the phases of a round in which actors have other parameters"""
        self.evaluated: Weights | None = None
        self.evaluated_at = (0, 0)
        """env steps and updates when that evaluation began"""
        self.short: list[Short] = []
        """tasks that updates waited for when the loop last asked, although ``min_size`` is stored"""
        self.delivered: set[str] = set()
        """on-policy: the actors whose part of the round under way is there"""
        settings, plan = config.actors, build.algorithm(config, spec).plan
        self.on_policy = isinstance(plan, Rounds)
        journaled = build.journal_level(config, plan) != "off"
        self.recovery = Recovery(self.folder, journaled=journaled, free=not (config.exact or self.on_policy))
        self.phases = plan.phases if isinstance(plan, Rounds) else 1
        self.infers = isinstance(plan, Stream) and plan.context > 0
        """a context is of what a policy did: demonstrations are none"""
        self.balance = Balance(len(self.actors), strict=config.strict, ahead=choose(config.learner.device).type == "cuda")
        if isinstance(plan, Rounds):
            self.per_call, self.call_size, self.updates_per_call = plan.episodes, 1, 1
            return
        self.per_call = settings.steps_per_call or (1 if config.strict else settings.chunk or spec.horizon)
        """what an actor is asked for: env steps, or on-policy episodes, of each simulator"""
        self.call_size = self.per_call * settings.slots(len(config.tasks))
        """what the limiter counts of that: env steps, or one part of a round"""
        due = config.replay.updates_per_step * self.call_size * len(self.actors)
        self.updates_per_call = math.ceil(due) + 1  # one more, so that a backlog melts

    def start(
        self, saved: dict | None = None, replay: dict | None = None, initial: Mapping[str, Any] | None = None, journal: bool = True
    ) -> None:
        """Starts everything; ``saved`` (component states) and ``replay`` (manifest) continue a checkpoint, with ``journal`` also what was
        stored since, ``initial`` are networks (name -> tensor) to begin with."""
        config, backend = self.config, self.backend
        sweep()
        sweep(config.replay.folder)
        ring_file(self.run_id, config.replay.folder).unlink(missing_ok=True)  # of this run, killed before: what counts is its checkpoint
        backend.start("ingest", build.ingest, config, self.spec, self.run_id, self.folder, restart=True)
        replayed = None if replay is None else self._ask("ingest", "load", self.folder, replay, journal)
        exact = bool(saved) and self.actors[0] in saved
        if saved and exact:
            self.counters, self.incarnations = Counters(**saved["fleet"]["counters"]), dict(saved["fleet"]["incarnations"])
        elif saved and replay is not None:
            self.counters, self.incarnations = self.recovery.recover(self._ask, saved, self.actors, replay, replayed)
        if config.demos.wanted:
            demo_file(self.run_id, config.replay.folder).unlink(missing_ok=True)
            self.demos = build.demos(config, self.spec, self.run_id, of_run.load(config, self.folder))
        for name in self.actors:  # first, because their simulators take seconds to be made, in processes of their own
            self.crew.start(name, self.incarnations[name])
        self._start_evaluator()
        self.ring = Ring.attach(path := self._ask("ingest", "ring_path"))
        backend.start("learner", learner_factory(), config, self.spec, path)
        if saved:
            self.policy = Weights(saved["published"]["version"], dict(saved["published"]["params"]))
            self._ask("learner", "load_state_dict", saved["learner"])
            self.delivered = set(saved["fleet"]["delivered"]) if exact else set()
        elif initial:
            self._ask("learner", "warm_start", initial)
        # Where updates were under way, the saved learner is ahead of what was published under its version: that needs a new one.
        self._receive(self._ask("learner", "publish" if saved and not exact and not self.on_policy else "weights"))
        for name in self.actors:
            self.running[name] = self.crew.begin(name, self.shared, saved[name] if saved and exact else None)
        self._gather()
        self.balance.begin()

    def _gather(self) -> None:
        self.crew.gather(self.running, lambda ticket: self._finished(ticket, Absorbed()), together=self.config.strict or self.on_policy)

    def _start_evaluator(self) -> None:
        made, rest = gateway_evaluator.factory(self.config, self.outside)
        self.backend.start(EVALUATOR, made, self.config, self.spec, self.folder / "logs", *rest)

    def _ask(self, name: str, method: str, *args: Any) -> Any:
        return self.backend.result(self.backend.call(name, method, *args))

    def close(self) -> None:
        """Ends all components and frees the shared memory."""
        self.backend.close()
        self.outside.close()
        self.recovery.close()
        for ring, file in ((self.ring, ring_file), (self.demos, demo_file)):
            if ring is not None:
                ring.close()
            file(self.run_id, self.config.replay.folder).unlink(missing_ok=True)

    # ---- what the loop asks -------------------------------------------------------------------------------------------

    def idle_actors(self) -> Iterator[str]:
        return (name for name in self.actors if name not in self.running and name not in self.delivered)

    def drawable(self) -> bool:
        """Whether replay has enough of every task for updates; see ``shortage``. A round is whole when the limiter says so."""
        assert self.ring is not None  # started
        if self.on_policy:
            return True
        shown = self.demos.state().live.tolist() if self.demos is not None and not self.infers else ()
        short = short_tasks(self.ring.state().live.tolist(), self.config.replay, self.counters.updates, shown)
        self.short = short if self.counters.stored >= self.config.replay.min_size else []
        return not short

    def learner_idle(self) -> bool:
        return "learner" not in self.running

    def describe_learner(self) -> str:
        return self._ask("learner", "describe")

    def compiling(self) -> bool:
        return self._ask("learner", "compiling") if self.learner_idle() else False

    def between_rounds(self) -> bool:
        """Whether nothing has been collected that the next update has not learned from; always, off-policy."""
        return not self.on_policy or (not self.delivered and self.weights.version % self.phases == 0)

    def under_way(self) -> int:
        """What actors were sent for, as the limiter counts."""
        return sum(self.call_size for name in self.actors if name in self.running and name not in self.crew.pending)

    def collect(self, name: str) -> None:
        """Sets one actor going, with the newest weights."""
        self._begin(name, "collect", self.call_size if name == gateway.NAME else self.per_call, self.shared)

    def update(self, count: int) -> None:
        self._begin("learner", "update", count)
        self.counters.updates += count

    def _begin(self, name: str, method: str, *args: Any) -> None:
        self.running[name] = self.backend.call(name, method, *args)
        if self.config.lockstep:
            self.backend.ready([self.running[name]], wait=True)

    def publish(self) -> None:
        """New weights for the next call of every actor."""
        began = time.monotonic()
        self._receive(self._ask("learner", "publish"))
        self.balance.published(time.monotonic() - began)

    def _receive(self, weights: Weights) -> None:
        self.recovery.note(weights.version)
        self.weights, self.shared = weights, self.backend.share(weights)
        if weights.version % self.phases == 0:
            self.policy = weights
        if weights.version != self.counters.version:
            self.delivered.clear()
        self.counters.version = weights.version

    def evaluate(self) -> None:
        """Begins an evaluation of the newest policy in every task, beside everything else."""
        self.evaluated, self.evaluated_at = self.policy, (self.counters.steps, self.counters.updates)
        self.running[EVALUATOR] = self.backend.background(EVALUATOR, "evaluate", self.backend.share(self.policy))

    def evaluating(self) -> bool:
        return EVALUATOR in self.running

    def absorb(self, *, wait: bool = True) -> Absorbed:
        """Takes in whatever is finished; with ``wait`` at least one call, if any but an evaluation is under way."""
        absorbed = Absorbed()
        workers = [ticket for name, ticket in self.running.items() if name != EVALUATOR]
        # Someone may ask to stop while only an evaluation is left, or actors without a place, and is not to wait for those.
        limit_s = None if self._busy() else STOP_CHECK_S
        finished = self.backend.ready(workers or list(self.running.values()), wait=wait, limit_s=limit_s)
        if workers and self.evaluating():
            finished = finished + self.backend.ready([self.running[EVALUATOR]], wait=False)
        for ticket in finished:
            self._finished(ticket, absorbed)
        return absorbed

    def _busy(self) -> bool:
        """Whether an actor or the learner works at something."""
        return any(name != EVALUATOR and name not in self.crew.pending for name in self.running)

    def _finished(self, ticket: Any, absorbed: Absorbed) -> None:
        begun = (name := ticket.component) in self.crew.pending
        self.running.pop(name, None)
        self.crew.pending.discard(name)
        try:
            result = self.backend.result(ticket)
        except ComponentDied as death:
            return self._replace(death)
        return None if begun else self._take(name, result, absorbed)

    def _take(self, name: str, result: Any, absorbed: Absorbed) -> None:
        if isinstance(result, Report):
            self.recovery.open[name] = result.open
            if not self.on_policy:
                absorbed.inserted += result.stored
            elif result.version == self.counters.version:
                self.delivered.add(name)
                absorbed.inserted += 1
            self.counters.count(result)
            self.balance.collected(result)
            absorbed.reports.append(result)
            self.outside.metrics = result.metrics or self.outside.metrics
        elif isinstance(result, Evaluation | Unplayed):
            absorbed.judged(result)
        else:
            self.balance.updated(result.pop("learner/seconds", 0.0), result.pop("learner/sample_seconds", 0.0))
            absorbed.learner.append(result)

    def _replace(self, death: ComponentDied) -> None:
        """A lost actor is replaced and its open episodes leave the draw, a lost evaluator begins again; another loss ends the run."""
        name = death.name
        if name not in self.actors and name != EVALUATOR:
            raise death
        self.counters.restarts += 1
        self.crew.lost(death)
        if name == EVALUATOR:
            self._start_evaluator()
            self.running[name] = self.backend.background(name, "evaluate", self.evaluated)
            return
        self.incarnations[name], self.recovery.open[name] = self.incarnations[name] + 1, 0
        if name != gateway.NAME:  # its clients go on
            self._ask("ingest", "take_over", self.actors.index(name), self.incarnations[name])
        self.crew.start(name, self.incarnations[name])
        self.running[name] = self.crew.begin(name, self.shared)
        if self.config.strict:
            self._gather()

    # ---- checkpoint ---------------------------------------------------------------------------------------------------

    def settle(self) -> Absorbed:
        """Waits until no actor and no learner call is under way."""
        total = Absorbed()
        while self._busy():
            total.add(self.absorb())
        return total

    def settle_evaluation(self, stopped: Callable[[], bool]) -> Absorbed:
        """Until no evaluation is under way, or ``stopped`` says so. Clients elsewhere, who may be those who play it, are attended to."""
        total = Absorbed()
        while self.evaluating() and not stopped():
            if gateway.NAME in self.actors and gateway.NAME not in self.running:
                self._begin(gateway.NAME, "collect", 0, self.shared)
            total.add(self.absorb())
        total.add(self.settle())
        return total

    def state(self, *, exact: bool) -> dict[str, Any]:
        """The states of the components; actors (with their open episodes) only where the run can be continued bit by bit."""
        states = {name: self._ask(name, "state_dict") for name in ["learner", *(self.actors if exact else [])]}
        own = {"counters": vars(self.counters).copy(), "incarnations": dict(self.incarnations), "open": sum(self.recovery.open.values())}
        return states | {"fleet": own | {"delivered": sorted(self.delivered)}}

    def stage_replay(self) -> list[int]:
        """Copies in memory what replay has that is not on disk yet. Returns the transitions stored per task at that moment."""
        return self._ask("ingest", "stage")

    def write_replay(self) -> dict[str, Any] | None:
        """Writes what was staged, beside inserts; returns the manifest, None where it was lost. May be called from a thread."""
        return self.backend.result(self.backend.beside("ingest", "write_staged", self.folder))
