"""One run on this machine: its folder, registry row, metrics, clocks, goal and checkpoints around the fleet."""

import signal
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from core.barrier import RoundBarrier
from core.checkpoint import Checkpoints
from core.clocks import Every, EverySeconds
from core.errors import TakenOver
from core.limiter import SamplesPerInsert
from core.metrics import Averages, Metrics
from core.treefile import snapshot
from core.types import TaskSpec
from manyhands import build, result, warm_start
from manyhands.backends import Backend
from manyhands.config import RunConfig
from manyhands.counters import Absorbed
from manyhands.fleet import Fleet
from manyhands.progress import Progress
from manyhands.registry import Registry
from manyhands.result import Outcomes
from protocols.evaluator import Evaluation
from replay.journal import drop
from replay.segments import collect_garbage

LOG_EVERY_S = 2.0
"""seconds between rows of metrics.jsonl"""


class Clocks(NamedTuple):
    evaluate: Every
    """by env steps"""
    save: EverySeconds
    log: EverySeconds


class Run:
    """See the module. Used as a context: leaving it always ends all processes."""

    def __init__(self, config: RunConfig, spec: TaskSpec, backend: Backend, registry: Registry, run_id: str, folder: Path) -> None:
        self.config, self.registry, self.id, self.folder = config, registry, run_id, folder
        self.exact = config.exact
        self.fleet = Fleet(config, spec, backend, run_id, folder)
        self.fleet.crew.stopped = self._stopped
        self.limiter = self._limiter()
        self.clocks = Clocks(Every(config.evaluation.every_steps), EverySeconds(config.checkpoint.every_s), EverySeconds(LOG_EVERY_S))
        self.metrics = Metrics(folder)
        self.checkpoints = Checkpoints(folder / "checkpoints", config.checkpoint.keep)
        self.averages = Averages()
        self.progress = Progress(config, run_id)
        self.outcomes = Outcomes(config.tasks)
        self.stop_signal = 0
        self.reason = ""
        self.unplayed = ""
        """why the latest evaluation is missing; empty: it is not"""
        self._evaluated_version = -1
        self._graph_ready = False
        self._row_step = -1
        self._owner = registry.owner(run_id)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future | None = None

    # ---- life ---------------------------------------------------------------------------------------------------------

    def start(self, *, resume: bool, step: int | None = None) -> None:
        """Starts the fleet, from the newest checkpoint and what is in the journal since (or from that of ``step`` alone) if ``resume`` and
        there is one."""
        self._start(resume, step)
        if self.fleet.recovery.needs_save:  # before anything is acknowledged: the journal alone says nothing
            self.save(wait=True)

    def _start(self, resume: bool, step: int | None) -> None:
        if not (resume and self.checkpoints.steps()):
            self.fleet.start(initial=warm_start.tensors_of(self.config, self.fleet.spec, self.folder))
            self.metrics.rewind(-1)
            self.progress.begin(self.fleet)
            return
        loaded = self.checkpoints.load(step)
        parts, driver = loaded.components, loaded.components["driver"]
        self.limiter.load_state_dict(driver["limiter"])
        self.clocks.evaluate.load_state_dict(driver["evaluate"])
        self.outcomes.load_state_dict(driver)
        self._evaluated_version = driver["evaluated"]
        self.progress.load_state_dict(driver["progress"])
        self.fleet.start(parts, loaded.meta["replay"], journal=step is None)
        self.limiter.inserted(len(self.fleet.delivered) if self.fleet.on_policy else self.fleet.recovery.transitions)
        self.metrics.rewind(loaded.step)  # only now: replay may turn out to be damaged
        (self.folder / result.FILE).unlink(missing_ok=True)  # of an earlier end
        self._row_step = loaded.step
        self.progress.begin(self.fleet)
        if driver["evaluating"]:
            self.fleet.evaluate()

    def _limiter(self) -> SamplesPerInsert | RoundBarrier:
        replay = self.config.replay
        if self.fleet.on_policy:
            return RoundBarrier(self.config.actors.actors)
        return SamplesPerInsert(replay.updates_per_step, replay.min_size, replay.max_lead_steps, replay.head_start)

    def describe(self) -> str:
        """One line on how this run works."""
        settings, slots = self.config.actors, self.config.actors.slots(len(self.config.tasks))
        processes = sum(build.processes(self.config, actor) for actor in range(settings.actors))
        learner = self.fleet.describe_learner() + self.fleet.outside.describe()
        return f"{settings.actors} actors x {slots} simulators in {processes} processes; {learner}"

    def __enter__(self) -> "Run":
        self._handlers = {s: signal.signal(s, self._on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._writer.shutdown()
        self.fleet.close()
        self.metrics.close()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        """The first signal ends the loop after the call under way; a second one ends the process."""
        if self.stop_signal:
            raise KeyboardInterrupt
        self.stop_signal = number

    # ---- what the loop asks -------------------------------------------------------------------------------------------

    def done(self) -> bool:
        """Whether the goal is reached, the steps are used up, or someone asked to stop."""
        target = self.config.evaluation.target_success
        if self.stop_signal:
            self.reason = "stopped"
        elif target and self.outcomes.reached >= target:
            self.reason = "target"
        elif self.fleet.counters.steps >= self.config.total_steps and self.fleet.between_rounds():
            self.reason = "steps"
        return bool(self.reason)

    def announce_wait(self) -> None:
        """Tells the view when an update has to wait for the compiler; that happens once."""
        if self._graph_ready:
            return
        if self.fleet.compiling():
            self.progress.waiting_for_compiler(self.fleet)
        self._graph_ready = self.fleet.counters.updates >= self.config.learner.eager_first

    def log(self, absorbed: Absorbed) -> None:
        """Counts what came in; writes a row and redraws when it is time."""
        self.progress.count(absorbed, self.fleet)
        for metrics in absorbed.learner:
            self.averages.add(metrics)
        for evaluation in absorbed.evaluations:
            self._evaluated(evaluation)
        for unplayed in absorbed.unplayed:
            self.unplayed = unplayed.reason
            self.metrics.log(self.fleet.counters.steps, {"eval/missing_version": unplayed.version})
            self.progress.say(unplayed.reason)
        if self.clocks.log.due():
            self.write_row()
        self.progress.show(self.fleet)

    def write_row(self) -> None:
        """One row of averages since the last, and this run's line in the registry; nothing where no env step came in since."""
        steps, updates = self.fleet.counters.steps, self.fleet.counters.updates
        if steps <= self._row_step and not (steps == 0 and updates):  # before the first env step demonstrations are learned from
            return
        self._row_step = steps
        self.metrics.log(steps, self.averages.flush() | self.progress.row(self.fleet))
        self.registry.update(self.id, steps=steps, updates=updates)

    def _evaluated(self, evaluation: Evaluation) -> None:
        """Takes in an evaluation of all tasks; it may be the best so far."""
        weights, counters = self.fleet.evaluated, self.fleet.counters
        assert weights is not None  # what was evaluated
        steps, updates = self.fleet.evaluated_at
        self.metrics.log(counters.steps, self.outcomes.take(evaluation, weights, steps, updates) | {"eval/policy_step": steps})
        self._evaluated_version, self.unplayed = evaluation.version, ""
        last = self.outcomes.last
        assert last is not None  # taken just now
        self.registry.update(self.id, success_any=last["success_any"], success_last=last["success_last"])
        self.progress.evaluated(last)

    # ---- checkpoint ---------------------------------------------------------------------------------------------------

    def save(self, *, wait: bool = False) -> None:
        """Copies every state in memory, then writes it in a thread. Training stops for the copy only."""
        self.finish_writing()
        self._still_mine()
        if self.exact:
            self._absorb_rest(self.fleet.settle())
        parts = self.fleet.state(exact=self.exact)
        stored = self.fleet.stage_replay()
        limiter = self.limiter.state_dict()
        if isinstance(self.limiter, SamplesPerInsert) and not self.exact:
            # Chunks may have arrived that no report has told of yet; replay itself is the watermark.
            limiter["inserted"] = sum(stored)
        weights = self.fleet.policy
        parts["published"] = {"version": weights.version, "params": weights.params}
        parts["driver"] = {
            "limiter": limiter,
            "evaluate": self.clocks.evaluate.state_dict(),
            "evaluating": self.fleet.evaluating(),
            "evaluated": self._evaluated_version,
            **self.outcomes.state_dict(),
            "progress": self.progress.state_dict(),
        }
        self._writing = self._writer.submit(self._write, self.fleet.counters.steps, snapshot(parts))
        if wait and not self.finish_writing():
            self.save(wait=True)

    def _still_mine(self) -> None:
        """A machine that was cut off may come back while the run goes on elsewhere: two must not write one folder."""
        if (owner := self.registry.owner(self.id)) != self._owner:
            raise TakenOver(f"the run {self.id} was taken over by process {owner[1]} on {owner[0]}; this process saves no more of it")

    def _absorb_rest(self, absorbed: Absorbed) -> None:
        self.limiter.inserted(absorbed.inserted)
        if absorbed.learner:
            self.fleet.publish()
        self.log(absorbed)

    def _write(self, step: int, parts: Mapping[str, Any]) -> bool:
        """False where the replay process died meanwhile: this checkpoint is given up, the next one will hold everything."""
        replay = self.fleet.write_replay()
        if replay is None:
            return False
        self.checkpoints.save(step, parts, {"replay": replay, "exact": self.exact})
        drop(self.folder, replay.get("journal"))
        collect_garbage(self.folder, [s for m in self.checkpoints.manifests() for s in m["meta"]["replay"]["segments"]])
        return True

    def finish_writing(self) -> bool:
        """Waits for the checkpoint under way; its errors surface here. Returns whether there is nothing left to write."""
        writing, self._writing = self._writing, None
        return writing is None or writing.result()

    def finish(self) -> None:
        """The last evaluation, the last row, the result and the last checkpoint."""
        self._absorb_rest(self.fleet.settle())
        self.fleet.balance.end()
        if self.reason == "steps" and self._evaluated_version != self.fleet.policy.version:
            self.save()  # the evaluation may take long, or fail
            self._evaluate_last()
            if self.stop_signal and self._evaluated_version != self.fleet.policy.version:
                self.reason = "stopped"  # the last policy is not judged yet: resume does it
        self.write_row()
        self.save(wait=True)
        self._write_result()
        status = "stopped" if self.reason == "stopped" else "finished"
        self.registry.update(self.id, status=status, reason=self.reason)

    def _write_result(self) -> None:
        config, counters = self.config, self.fleet.counters
        facts = {"run": self.id, "seed": config.seed, "preset": config.preset, "steps": counters.steps, "updates": counters.updates}
        self.outcomes.write(self.folder, {**facts, "elapsed_s": self.progress.elapsed_s, "reason": self.reason})

    def _evaluate_last(self) -> None:
        """The result of the run: its last policy, unless someone asks to stop meanwhile."""
        self._absorb_rest(self.fleet.settle_evaluation(self._stopped))
        if self.stop_signal:
            return
        if self._evaluated_version != self.fleet.policy.version:
            self.fleet.evaluate()
            self._absorb_rest(self.fleet.settle_evaluation(self._stopped))

    def _stopped(self) -> bool:
        return bool(self.stop_signal)
