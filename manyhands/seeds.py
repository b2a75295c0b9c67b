"""Several seeds at once: a process for each, on cores of its own; one table of all; one signal stops and saves them all."""

import os
import selectors
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from rich.console import Console

from core.errors import ManyhandsError
from manyhands.children import StackProcess, describe_end, exit_code, start_python
from manyhands.config import RunConfig
from manyhands.placement import CPU, Group, Lane, Placement, share, visible
from manyhands.registry import Registry
from manyhands.registry import Run as Row
from manyhands.seeds_table import SeedsView
from manyhands.session import command, enter

REFRESH_S = 1.0


class Child(NamedTuple):
    """The process of one seed."""

    seed: int
    run: Row
    process: subprocess.Popen
    alive: int
    """pidfd: readable when it has ended"""


@dataclass
class Occupied:
    """A lane with the group that is on it."""

    group: Group
    stack: StackProcess | None
    children: list[Child] = field(default_factory=list)


class Seeds:
    """See the module.

    Args:
        config: of every run but for its seed; checked already.
        root: folder of the runs.
    """

    def __init__(self, config: RunConfig, placement: Placement, root: Path) -> None:
        self.config, self.placement, self.root = config, placement, root
        self.registry = Registry(root)
        self.waiting = list(placement.groups)
        self.lanes: dict[Lane, Occupied] = {}
        self.runs: dict[int, Row] = {}
        self.codes: dict[int, int] = {}
        """exit codes as a shell tells them, of the seeds that have ended"""
        self.stopped_by = 0
        """number of the first signal"""
        self._told: set[int] = set()
        """seeds that were sent the signal"""
        self._selector = selectors.DefaultSelector()

    def go(self, console: Console) -> int:
        """Everything, to its end. Returns the worst exit code, 130 where a person stopped it."""
        seeds = [seed for group in self.placement.groups for seed in group.seeds]
        view = SeedsView(console, seeds, self.config.total_steps, self.registry, strict=self.config.strict)
        with self._signals(), view:
            try:
                self._fill()
                while self.lanes:
                    for key, _ in self._selector.select(REFRESH_S):
                        self._ended(*key.data)
                    self._fill()
                    view.show(self.runs)
            except KeyboardInterrupt:
                console.print("interrupted")
            finally:
                self._kill()
        self._conclude(console)
        return 130 if self.stopped_by else max(self.codes.values(), default=2)

    def folders(self) -> dict[int, Path]:
        """Of the runs that were begun, by seed."""
        return {seed: run.path for seed, run in self.runs.items()}

    def not_begun(self) -> list[int]:
        return [seed for group in self.waiting for seed in group.seeds]

    # ---- start and end ------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Starts a group on every free lane."""
        for lane in self.placement.lanes:
            group = next((g for g in self.waiting if g.device == lane.device), None)
            if group is None or lane in self.lanes or self.stopped_by:
                continue
            self.waiting.remove(group)
            try:
                self._start(lane, group)
            except ManyhandsError as error:  # the other groups go on
                self._not_started(group, str(error))

    def _start(self, lane: Lane, group: Group) -> None:
        for seed in group.seeds:
            self.runs[seed] = enter(replace(self.config, seed=seed), self.root)
        learner: dict[str, Any] = {} if lane.memory_fraction == 1 else {"memory_fraction": lane.memory_fraction}
        if self.placement.chosen or lane.device != CPU:
            learner["device"] = CPU if lane.device == CPU else "cuda"
        env = {}
        if (seen := visible(lane.device, os.environ.get("CUDA_VISIBLE_DEVICES"))) is not None:
            env["CUDA_VISIBLE_DEVICES"] = seen
        stack = None
        if len(group.seeds) > 1:
            log = _log(self.runs[group.seeds[0]], "stack")
            stack = StackProcess(group.seeds, lane.cores, learner, env, log)
            env, learner = {**env, **stack.env}, {}
        occupied = self.lanes[lane] = Occupied(group, stack)
        for seed, cores in zip(group.seeds, share(lane.cores, len(group.seeds)), strict=True):
            run = self.runs[seed]
            order = {"run": run.id, "root": str(self.root), "parent": os.getpid(), "cores": cores, "env": env, "learner": learner}
            process = start_python("manyhands.seed_process", order, _log(run, "output"))
            child = Child(seed, run, process, os.pidfd_open(process.pid))
            occupied.children.append(child)
            self._selector.register(child.alive, selectors.EVENT_READ, (lane, child))
            if self.stopped_by:
                self._pass_on()

    def _not_started(self, group: Group, reason: str) -> None:
        for seed in group.seeds:
            self.codes[seed] = 2
            if seed in self.runs:
                self.registry.update(self.runs[seed].id, status="failed", reason=reason)

    def _ended(self, lane: Lane, child: Child) -> None:
        """Takes note of a child's end; the others of its lane go on."""
        self._selector.unregister(child.alive)
        os.close(child.alive)
        self.codes[child.seed] = exit_code(child.process.wait())
        row = self.registry.get(child.run.id)
        if row.pid == os.getpid():  # it had not come so far as to take the run over
            self.registry.update(row.id, status="stopped" if self.stopped_by else "failed", reason="ended before it began")
        occupied = self.lanes[lane]
        occupied.children.remove(child)
        if occupied.stack is not None:
            occupied.stack.gone(child.seed)
        if not occupied.children:
            if occupied.stack is not None:
                occupied.stack.close()
            del self.lanes[lane]

    # ---- signals ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        """The first is passed on: each run stops and saves. A second one ends them hard."""
        if self.stopped_by:
            raise KeyboardInterrupt
        self.stopped_by = number
        self._pass_on()

    def _pass_on(self) -> None:
        """Each child is sent the signal once: a second one would end it without saving."""
        for child in [child for occupied in self.lanes.values() for child in occupied.children if child.seed not in self._told]:
            self._told.add(child.seed)
            child.process.send_signal(self.stopped_by)

    def _kill(self) -> None:
        """Ends what is still there: nothing, unless a person insisted or this process failed."""
        for lane, occupied in list(self.lanes.items()):
            for child in list(occupied.children):
                child.process.kill()
                self._ended(lane, child)

    # ---- the last words -----------------------------------------------------------------------------------------------

    def _conclude(self, console: Console) -> None:
        """One line per seed: how it ended, and the next command."""
        for seed, run in self.runs.items():
            row = self.registry.get(run.id)
            name, end = command(self.registry, row.id), describe_end(row, self.codes.get(seed, 130), self.config.evaluation.target_success)
            verb = "eval" if row.status == "finished" else "resume"
            console.print(f"seed {seed}: {end}. next: manyhands {verb} {name}", soft_wrap=True, highlight=False)
            if row.status not in ("finished", "stopped"):
                console.print(f"  its output: {_log(row, 'output')}", soft_wrap=True, highlight=False)
        if self.waiting:
            console.print(f"not begun: seeds {', '.join(map(str, self.not_begun()))}")


def _log(run: Row, name: str) -> Path:
    folder = run.path / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.log"
