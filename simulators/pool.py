"""N simulators in worker processes, stepped in lockstep or freely: what an actor holds. It outlives simulators that crash or hang."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from core.errors import SimulatorError
from core.types import TaskSpec
from simulators._orders import Orders
from simulators.crew import Crew, Deadlines
from simulators.memory import ADVANCE, RESET, STEP, shares
from simulators.process import Process


class PoolStep(NamedTuple):
    """One lockstep step of N simulators. Views into shared memory: valid until the next ``send``."""

    obs: dict[str, NDArray]
    """(N, ...) to act on next: the first observation of the next episode where one ended"""
    closing: dict[str, NDArray]
    """(N, ...) the observation that closes this transition; equals ``obs`` where the episode goes on"""
    reward: NDArray[np.float32]
    """(N,)"""
    terminated: NDArray[np.bool_]
    """(N,)"""
    truncated: NDArray[np.bool_]
    """(N,)"""
    success: NDArray[np.bool_]
    """(N,)"""
    lost: NDArray[np.bool_]
    """(N,) the simulator was lost in this step: discard its open episode. ``obs`` begins a fresh one, the rest is zero."""


class SimulatorPool:
    """N simulators in W processes. Make it in a thread that lives as long as the pool: the kernel ends the workers with that thread.

    A worker that crashes, hangs or breaks the simulator's contract is killed with all it started and replaced; each of its slots goes
    on with a later variation and is reported as ``lost``. ``failures`` counts them, ``last_failure`` tells of the last in one line.

    Args:
        name: ``metaworld:reach-v3``, or one name per simulator; their observations and actions must be alike.
        seeds: one per simulator, N in all.
        options: of the simulators, or one mapping per simulator.
        workers: W, at most N. Each steps consecutive slots, with one call where the simulator offers that.
        cores: to which workers are pinned, one each (see ``simulators.process.cores``); None: the operating system decides.
        step_timeout_s: longest that one simulator may take for one step.
        reset_timeout_s: longest that one simulator may take for one reset.
        launch_timeout_s: longest that a worker may take to make its simulators.
        max_failures: failures of one worker without a completed step in between that end the pool.
        log_dir: where the workers' output goes, ``simulators-<worker>.log``; None: temporary files.
        wait: False returns while the workers still make their simulators, which takes seconds; ``ready`` then waits.

    Raises:
        ConfigError: unknown simulator, task or option; impossible value.
        MissingExtra: the package behind the simulator is not installed.
        SimulatorError: not retryable; a worker failed ``max_failures`` times. Also of every method below. The pool is closed then.
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
        log_dir: Path | None = None,
        wait: bool = True,
    ) -> None:
        orders = Orders(name, seeds, options, workers)
        self.name, self.size, self.failures, self.last_failure = orders.title, len(seeds), 0, ""
        logs = _log_files(log_dir, workers)
        self._max_failures, self._fd = max_failures, os.memfd_create("simulators")
        self.shares = shares(self.size, workers)
        """worker -> its slots"""
        processes = [Process(orders.of(w, cores), self._fd, logs[w]) for w in range(workers)]
        deadlines = Deadlines(step_timeout_s, reset_timeout_s, launch_timeout_s)
        self._crew = Crew(self.name, processes, self.size, self._fd, deadlines)
        self._all, self._closed = range(workers), False
        self._stepping: set[int] = set()
        self._met = False
        with self._closed_on_error():
            self._crew.start(self._all)
        if wait:
            self.ready()

    def ready(self) -> None:
        """Waits until all simulators are made: what ``wait=False`` left out. Before that only ``size`` and ``close`` are of use."""
        if self._met:
            return
        with self._closed_on_error():
            failed = self._crew.meet(self._all)
            while failed:
                self._count(failed)
                failed = self._crew.launch(failed)
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
        self._memory.variation[:] = variations
        self._memory.chosen[:] = True
        self._replace(self._run(RESET))

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
        self._stepping.update(chosen)
        self._crew.send(STEP, chosen)

    def recv(self) -> PoolStep:
        """Waits for every step that ``send`` started."""
        if not self._stepping:
            raise SimulatorError(f"{self.name}: recv() without send()", retryable=False)
        stepping = list(self._stepping)
        self._step.lost[:] = False
        self._stepped(stepping, self._crew.wait(stepping))
        return self._step

    def recv_any(self) -> tuple[list[int], PoolStep]:
        """Waits for the first of the steps that ``send`` started: fast simulators need not wait for slow ones.

        Returns:
            the workers whose steps are done, all there are, and the step, of which only their slots (``shares``) may be read.
        """
        if not self._stepping:
            raise SimulatorError(f"{self.name}: recv_any() without send()", retryable=False)
        done, failed = self._crew.wait_any(self._stepping)
        self._stepped(done, failed)
        return done, self._step

    def _stepped(self, workers: list[int], failed: dict[int, str]) -> None:
        self._stepping.difference_update(workers)
        for w in workers:
            self._step.lost[self.shares[w]] = w in failed
            if w not in failed:
                self._crew.processes[w].strikes = 0
        if failed:
            self._replace(failed)

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
        # A failure moves its slots on to another variation: begin again. The limit on failures ends this.
        while not self._try_replay(np.asarray(variations, np.int64), actions):
            pass

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

    def _try_replay(self, variations: NDArray[np.int64], actions: Sequence[NDArray[np.float32]]) -> bool:
        self.reset(variations)
        if not np.array_equal(self.variations, variations):
            return False
        memory, lengths = self._memory, np.array([len(taken) for taken in actions])
        for t in range(lengths.max()):
            memory.chosen[:] = lengths > t
            for slot in np.flatnonzero(memory.chosen).tolist():
                memory.action[slot] = actions[slot][t]
            failed = self._run(ADVANCE)
            if failed:
                self._replace(failed)
                return False
            ended = np.flatnonzero(memory.chosen & (memory.terminated | memory.truncated))
            if len(ended):
                where = f"slot {ended[0]} ended its episode at action {t + 1} of {lengths[ended[0]]}"
                raise SimulatorError(f"{self.name}: replay of {where}; they are not of an open episode", retryable=False)
        return True

    def _run(self, command: bytes) -> dict[int, str]:
        """One command to all workers; returns the failed."""
        self._crew.send(command, self._all)
        return self._crew.wait(self._all)

    def _finish(self) -> None:
        """Ends a step that was sent and not yet received."""
        if self._closed:
            raise SimulatorError(f"{self.name}: the pool is closed", retryable=False)
        if self._stepping:
            self.recv()

    def _replace(self, failed: Mapping[int, str]) -> None:
        """New workers for the failed ones, each slot at a variation it has not tried yet."""
        with self._closed_on_error():
            while failed:
                self._count(failed)
                failed = self._restart(list(failed))

    def _restart(self, workers: list[int]) -> dict[int, str]:
        memory = self._memory
        for w in workers:
            share = self.shares[w]
            memory.variation[share] += 1
            for results in (memory.reward, memory.terminated, memory.truncated, memory.success):
                results[share] = 0
        memory.chosen[:] = True
        failed = self._crew.launch(workers)
        launched = [w for w in workers if w not in failed]
        self._crew.send(RESET, launched)
        return failed | self._crew.wait(launched)

    def _count(self, failed: Mapping[int, str]) -> None:
        for w, reason in failed.items():
            process = self._crew.processes[w]
            self.failures, self.last_failure = self.failures + 1, reason
            process.strikes += 1
            if process.strikes >= self._max_failures:
                times = f"failed {process.strikes} times in a row (max_failures)"
                raise SimulatorError(f"{reason}. Worker {w} {times}; its last words:\n{process.tail()}", retryable=False)

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        """A pool that lost workers for good must not leave the others running."""
        try:
            yield
        except BaseException:
            self.close()
            raise


def _log_files(log_dir: Path | None, workers: int) -> list[Path | None]:
    if log_dir is None:
        return [None] * workers
    log_dir.mkdir(parents=True, exist_ok=True)
    return [log_dir / f"simulators-{w}.log" for w in range(workers)]
