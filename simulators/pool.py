"""N simulators in worker processes, stepped in lockstep or freely: what an actor holds. It outlives simulators that crash or hang."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from core.contracts import Upkeep
from core.errors import SimulatorError
from core.types import TaskSpec
from simulators._diary import Diary
from simulators._orders import Orders
from simulators._replay import replayed
from simulators.crew import Crew, Deadlines
from simulators.ledger import Ledger, Limits
from simulators.memory import ADVANCE, RESET, STEP
from simulators.process import Process
from simulators.step import PoolStep


class SimulatorPool:
    """N simulators in W processes. Make it in a thread that lives as long as the pool: the kernel ends the workers with that thread.

    A worker that crashes, hangs or breaks the simulator's contract is killed with all it started and replaced; each of its slots goes on
    with a later variation and is reported as ``lost``. One whose simulator asks for it is replaced between two episodes, and nothing is
    lost. ``ledger`` says when, and what is played no more. ``recv`` waits for a worker that is being replaced, too; ``recv_any`` does not.

    Args:
        name: ``metaworld:reach-v3``, or one name per simulator; their observations and actions must be alike.
        seeds: one per simulator, N in all.
        options: of the simulators, or one mapping per simulator.
        workers: W, at most N. Each steps consecutive slots, with one call where the simulator offers that. N where a simulator needs a
            process of its own (``simulators.hooks``).
        cores: to which workers are pinned, one each (see ``simulators.process.cores``); None: the operating system decides.
        step_timeout_s: longest that one simulator may take for one step.
        reset_timeout_s: longest that one simulator may take for one reset.
        launch_timeout_s: longest that one simulator may take to be made.
        max_failures: failures of one worker without a completed step in between that end the pool.
        quarantine_after: failures of one kind of episode without a completed one in between, after which it is passed over; 0: never.
        log_dir: where the workers' output goes, ``simulators-<worker>.log``, and what happened to them, ``pool.log``; None: temporary
            files, and nowhere.
        wait: False returns while the workers still make their simulators, which takes seconds; ``ready`` then waits.

    Raises:
        ConfigError: unknown simulator, task or option; impossible value.
        MissingExtra: the package behind the simulator is not installed.
        SimulatorError: not retryable; a worker failed ``max_failures`` times, or all episodes of a task are quarantined. Also of every
            method below. The pool is closed then.
    """

    def __init__(  # noqa: PLR0913 - every limit can be set, all have defaults
        self,
        name: str | Sequence[str],
        seeds: Sequence[int],
        options: Mapping[str, Any] | Sequence[Mapping[str, Any]] = MappingProxyType({}),
        *,
        workers: int = 1,
        cores: Sequence[int] | None = None,
        step_timeout_s: float = 30.0,
        reset_timeout_s: float = 120.0,
        launch_timeout_s: float = 120.0,
        max_failures: int = 5,
        quarantine_after: int = 3,
        log_dir: Path | None = None,
        wait: bool = True,
    ) -> None:
        orders = Orders(name, seeds, options, workers)
        self.name, self.size, self._fd = orders.title, len(seeds), os.memfd_create("simulators")
        self.shares, self._all = orders.shares, range(orders.workers)
        """worker -> its slots"""
        limits = Limits(max_failures, quarantine_after)
        self.ledger = Ledger(orders.names, orders.options, orders.workers, limits)
        self._diary = Diary(log_dir)
        processes = [Process(orders.of(w, cores), self._fd, self._diary.of_worker(w), orders.around(w)) for w in self._all]
        deadlines = Deadlines(step_timeout_s, reset_timeout_s, launch_timeout_s)
        self._crew = Crew(self.name, processes, self.size, self._fd, deadlines, self._lost)
        self._closed = self._met = False
        self._stepping: set[int] = set()
        self._kept: dict[int, dict[str, NDArray]] = {}
        """workers that are replaced between two episodes -> the observations that closed the last one"""
        with self._closed_on_error():
            for w in self._all:
                self._crew.bring(w)
        if wait:
            self.ready()

    def ready(self) -> None:
        """Waits until all simulators are made: what ``wait=False`` left out. Before that only ``size`` and ``close`` are of use."""
        if not self._met:
            with self._closed_on_error():
                self._crew.wait(self._all)
            self._met = True
            self._adopt()

    def _adopt(self) -> None:
        """Takes the views that every step returns: they are made once."""
        memory = self._crew.memory
        self.specs: list[TaskSpec] = [spec for spec in self._crew.specs if spec is not None]
        """(N) of every slot"""
        assert memory is not None and len(self.specs) == self.size  # a launch without failures made both
        self._memory = memory
        self.spec = self.specs[0]
        self.obs = memory.obs
        """(N, ...) the current observations"""
        self.variations: NDArray[np.int64] = memory.variation
        """(N,) of the current episode of every slot"""
        lost = np.zeros(self.size, bool)
        self._step = PoolStep(memory.obs, memory.closing, memory.reward, memory.terminated, memory.truncated, memory.success, lost)

    def reset(self, variations: Sequence[int] | NDArray[np.int64]) -> None:
        """Begins episode ``variations[i]`` in slot i. Where that fails the slot takes a later one: see ``self.variations``."""
        self._finish()
        with self._closed_on_error():
            self._memory.variation[:] = [self.ledger.allowed(slot, int(variation)) for slot, variation in enumerate(variations)]
            self._memory.chosen[:] = self._crew.playing = True
            self._run(RESET)
            self._look_ahead()

    def send(self, actions: NDArray[np.float32], workers: Iterable[int] | None = None) -> None:
        """Starts one step and returns at once. ``actions`` (N, A) in [-1, 1].

        Args:
            workers: whose slots are stepped, all by default; of ``actions`` only their rows are read. See ``recv_any``.
        """
        chosen = self._all if workers is None else list(workers)
        if len(set(chosen)) < len(chosen) or not set(chosen) <= set(self._all):
            raise SimulatorError(f"{self.name}: workers {chosen}. Allowed: some of 0 to {self._all[-1]}, each once", retryable=False)
        if self._closed or not self._stepping.isdisjoint(chosen):
            what = "on a closed pool" if self._closed else "twice without recv()"
            raise SimulatorError(f"{self.name}: send() {what}", retryable=False)
        if actions.shape != self._memory.action.shape:
            self._refuse(actions)
        for rows in [slice(None)] if workers is None else [self.shares[w] for w in chosen]:
            if not np.isfinite(actions[rows]).all():
                self._refuse(actions)
            self._memory.action[rows] = actions[rows]
            self._step.lost[rows] = False
        self._stepping.update(chosen)
        self._crew.send(STEP, chosen)

    def recv(self) -> PoolStep:
        """Waits for every step that ``send`` started."""
        if not self._stepping:
            raise SimulatorError(f"{self.name}: recv() without send()", retryable=False)
        for w in self._all if len(self._stepping) < len(self._all) else ():
            if w not in self._stepping:  # what was lost earlier is told
                self._step.lost[self.shares[w]] = False
        while self._stepping:
            self._receive(some=False)
        return self._step

    def recv_any(self) -> tuple[list[int], PoolStep]:
        """Waits for the first of the steps that ``send`` started: fast simulators need not wait for slow ones.

        Returns:
            the workers whose steps are done, all there are, and the step, of which only their slots (``shares``) may be read.
        """
        if not self._stepping:
            raise SimulatorError(f"{self.name}: recv_any() without send()", retryable=False)
        while not (done := self._receive(some=True)):
            pass
        return done, self._step

    def _receive(self, *, some: bool) -> list[int]:
        """The workers whose steps are done; not those that were healthy and are being replaced, which come later."""
        with self._closed_on_error():
            done = self._crew.wait(self._stepping, some=some)
            if self.ledger.watching or self._kept:
                done = [w for w in done if not self._between(w)]
            self._stepping.difference_update(done)
            self._look_ahead()
        for w in done:
            if not self._step.lost[self.shares[w].start]:
                self.ledger.strikes[w] = 0
        return done

    def _between(self, w: int) -> bool:
        """Takes in which episodes of a worker have ended. Whether it is replaced now, before the next goes on."""
        memory, share = self._memory, self.shares[w]
        if (closing := self._kept.pop(w, None)) is not None:
            for name, array in memory.closing.items():
                array[share] = closing[name]
            return False
        why = ""
        for slot in (np.flatnonzero(memory.terminated[share] | memory.truncated[share]) + share.start).tolist():
            self.ledger.ended(w, slot, int(memory.variation[slot] - memory.skip[slot]) - 1)
            why = why or self.ledger.due(w, slot, self._crew.processes[w].mb() if self.ledger.weighs(slot) else 0.0)
        if why:
            self._kept[w] = {name: array[share].copy() for name, array in memory.closing.items()}
            self._crew.bring(w, leave=True)
            self._diary.write(self.ledger.drain())
        return bool(why)

    def _refuse(self, actions: NDArray) -> NoReturn:
        wanted = f"finite numbers of shape {self._memory.action.shape}"
        raise SimulatorError(f"{self.name}: actions of shape {actions.shape}, not {wanted}", retryable=False)

    def step(self, actions: NDArray[np.float32]) -> PoolStep:
        """One step of every simulator."""
        self.send(actions)
        return self.recv()

    def replay(self, variations: Sequence[int], actions: Sequence[NDArray[np.float32]]) -> None:
        """Brings slot i to where ``actions[i]`` (t_i, A) lead from the start of episode ``variations[i]``, bit for bit. Used by resume.

        Raises:
            SimulatorError: not retryable; an episode ends within its actions, so they are not of an open episode of this simulator.
        """
        wanted = np.asarray(variations, np.int64)
        with self._closed_on_error():
            while True:  # a failure moves its slots on to another variation: begin again. The limit on failures ends this
                self.reset(wanted)
                if np.array_equal(self.variations, wanted) and replayed(self.name, self._memory, actions, lambda: self._run(ADVANCE)):
                    return

    @property
    def failures(self) -> int:
        """Workers that were lost and replaced."""
        return self.ledger.failures

    @property
    def last_failure(self) -> str:
        """Of the last of them, in one line."""
        return self.ledger.last_failure

    def upkeep(self) -> Upkeep:
        """What was done for the simulators since one last asked."""
        return self.ledger.upkeep()

    def close(self) -> None:
        """Ends all workers. May be called twice."""
        if not self._closed:
            self._closed = True
            self._crew.close()
            os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self, command: bytes) -> bool:
        """One command to all workers. Whether one failed, and was replaced."""
        before = self.ledger.failures
        self._crew.send(command, self._all)
        self._crew.wait(self._all)
        return self.ledger.failures > before

    def _finish(self) -> None:
        """Ends a step that was sent and not yet received."""
        if self._closed:
            raise SimulatorError(f"{self.name}: the pool is closed", retryable=False)
        if self._stepping:
            self.recv()

    def _lost(self, w: int, reason: str, slot: int | None) -> float:
        """Of the crew: each slot of a worker that failed goes on with a variation it has not tried yet."""
        tail, memory = self._crew.processes[w].tail(), self._crew.memory
        try:
            pause = self.ledger.failed(w, reason, slot, 0 if slot is None or memory is None else int(memory.variation[slot]))
        except SimulatorError as error:
            raise SimulatorError(f"{error}; its last words:\n{tail}", retryable=False) from None
        finally:
            self._diary.write(self.ledger.drain())
        if self._crew.playing:
            self._pass_over(w)
        return pause

    def _pass_over(self, w: int) -> None:
        memory, share = self._memory, self.shares[w]
        for slot in range(self.size)[share]:
            memory.variation[slot] = self.ledger.allowed(slot, int(memory.variation[slot]) + 1)
        if w in self._kept:  # its last episodes were whole
            return
        self._step.lost[share] = True
        for results in (memory.reward, memory.terminated, memory.truncated, memory.success):
            results[share] = 0

    def _look_ahead(self) -> None:
        """Tells the workers that are idle which variations to leave out."""
        idle = [w for w in self._all if w not in self._stepping] if self.ledger.quarantined else []
        for slot in [slot for w in idle for slot in range(self.size)[self.shares[w]]]:
            following = int(self.variations[slot]) + 1
            self._memory.skip[slot] = self.ledger.allowed(slot, following) - following

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        """A pool that lost workers for good must not leave the others running."""
        try:
            yield
        except BaseException:
            self.close()
            raise
