"""Learner side: one learner over several processes, each with its share of every batch; it ends where one process would with the whole.

Rank 0 lives in this process, the others are children, which do what it does: the same updates, the same loads. Only rank 0 publishes and
saves. A checkpoint is that of a single learner, and in ``ranks`` what the others draw with. With as many ranks it goes on bit by bit; with
another number, the ranks that are new draw with fresh streams, from the seed and the updates done.
"""

import dataclasses
import logging
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from core.contracts import Reduce
from core.errors import ConfigError, ManyhandsError
from core.types import Weights
from learner.device import CORES
from learner.group import Group, mean_over
from learner.worker import LearnerWorker

log = logging.getLogger(__name__)

TIMEOUT_S = 600.0
"""for a rank that neither answers nor dies; ranks also wait for each other's compiler"""
START_S = 120.0
CLOSE_S = 5.0
OWN = ("generator", "generator_kind", "source")
"""what of a learner's checkpoint is each rank's own: how it draws"""
_ROOT = Path(__file__).resolve().parents[1]

Factory = Callable[[int, Reduce, int], LearnerWorker]
"""(rank, reduce, updates done when its streams begin) -> its learner, not compiling yet. Can be pickled."""


class RankDied(ManyhandsError):  # noqa: N818 - an event, like ComponentDied
    """A process of the learner is gone; the run goes on from its last checkpoint."""


def check(ranks: int, batch_size: int, device: str = "auto", seeds: int = 1) -> None:
    """Raises ConfigError where a batch cannot be shared like that on this machine."""
    if ranks < 1:
        raise ConfigError(f"learner.ranks is {ranks}; it must be 1 or more")
    if ranks == 1:
        return
    if seeds > 1:
        raise ConfigError(f"learner.ranks is {ranks} for {seeds} seeds in one learner; several ranks share the batches of one seed only")
    if not batch_size:
        raise ConfigError(f"learner.ranks is {ranks}; batches of this algorithm cannot be shared; allowed: 1")
    if batch_size % ranks:
        low = batch_size // ranks * ranks
        near = f"{low} or {low + ranks}" if low else f"{ranks}"
        raise ConfigError(f"algo.batch_size is {batch_size}, learner.ranks {ranks}; it must be a multiple: {near}")
    here, first = torch.cuda.device_count(), _device(device, 0).index or 0
    if _device(device, 0).type == "cuda" and first + ranks > here:
        raise ConfigError(f"learner.ranks is {ranks}, one GPU each from cuda:{first} on; this machine has {here}. Fix: fewer, or the cpu")


def part(settings: Any, algo: Any, rank: int) -> tuple[Any, Any]:
    """The settings of learner and algorithm that one rank has: its share of batch and CPU threads, its device."""
    ranks = settings.ranks
    own = {"threads": settings.threads or max(1, (CORES - 1) // ranks)}
    if hasattr(settings, "device"):
        own["device"] = str(_device(settings.device, rank))
    return dataclasses.replace(settings, **own), dataclasses.replace(algo, batch_size=algo.batch_size // ranks)


def _device(name: str, rank: int) -> torch.device:
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    first = torch.device("cuda" if name == "auto" else name)
    return torch.device("cuda", (first.index or 0) + rank)


class RankedLearner:
    """A ``LearnerWorker`` over R processes. See the module.

    Args:
        factory: makes each rank's learner, in its process; what is not drawn is taken over from rank 0's.
        device: auto | cpu | cuda | cuda:N, the first GPU of R.
    """

    def __init__(self, factory: Factory, ranks: int, device: str = "auto", *, timeout_s: float = TIMEOUT_S) -> None:
        self.ranks, self.timeout_s, self._closing, self._dead = ranks, timeout_s, False, ""
        self._folder = tempfile.TemporaryDirectory(prefix="manyhands-ranks-")
        self._group: Group | None = None
        self._children: list[_Child] = []
        try:
            store = Path(self._folder.name) / "store"
            self._children = [_Child(r, (factory, store, r, ranks, str(_device(device, r)), timeout_s)) for r in range(1, ranks)]
            self._hear(START_S)  # all can be imported: from here on nobody is waited for in vain
            for child in self._children:
                threading.Thread(target=self._watch, args=(child,), daemon=True, name=f"rank-{child.rank}").start()
            self._group = Group(store, 0, ranks, _device(device, 0), timeout_s)
            self.worker = factory(0, mean_over(self._group), 0)
            self._hear()
            self._load(self.worker.state_dict(), [None] * (ranks - 1), renew=False)
        except BaseException:
            self.close()
            raise

    def _watch(self, child: "_Child") -> None:
        """A rank that dies ends what the others wait for."""
        how = child.process.wait()
        if not self._closing:
            self._dead = self._dead or f"rank {child.rank} of the learner died ({_how(how)})"
            log.error("%s", self._dead)
            if self._group is not None:
                self._group.abort()

    # ---- all ranks ----------------------------------------------------------------------------------------------------

    def _all(self, method: str, *args: Any) -> tuple[Any, list[Any]]:
        """The same call in every rank: (rank 0's answer, the others')."""
        self._tell(method, *args)
        try:
            with self._open().updating():
                own = getattr(self.worker, method)(*args)
        except Exception as error:  # the ranks are out of step now
            self._dead = self._dead or f"the learner failed before ({error})"
            if isinstance(error, RuntimeError):  # what gloo and NCCL raise
                raise RankDied(self._reason(error)) from error
            raise
        return own, self._hear()

    def _reason(self, error: RuntimeError) -> str:
        """What the others say is nearer to the cause; who is dead says nothing."""
        told = []
        for child in self._children:
            try:
                child.answer(CLOSE_S)
            except ManyhandsError as theirs:
                told.append(str(theirs))
        died = [text for text in told if " died (" in text]
        return (died or told or [f"the ranks of the learner lost each other ({error}); fix: manyhands resume"])[0]

    def _open(self) -> Group:
        if self._dead or self._group is None:
            raise RankDied(f"{self._dead or 'the learner is closed'}; fix: manyhands resume goes on from the last checkpoint")
        return self._group

    def _tell(self, method: str, *args: Any) -> None:
        self._open()
        for child in self._children:
            child.send(method, *args)

    def _hear(self, timeout_s: float | None = None) -> list[Any]:
        """The answers of all other ranks.

        Raises:
            RankDied: one is gone, or does not answer; else what one raised.
        """
        return [child.answer(timeout_s or self.timeout_s) for child in self._children]

    # ---- a learner ----------------------------------------------------------------------------------------------------

    @property
    def state(self) -> Any:
        return self.worker.state

    @property
    def updates(self) -> Any:
        return self.worker.updates

    def describe(self) -> str:
        return f"{self.worker.describe()}, {self.ranks} ranks"

    def compile(self) -> None:
        self._all("compile")

    def compiling(self) -> bool:
        own, others = self._all("compiling")
        return own or any(others)

    def wait_compiled(self) -> None:
        self._all("wait_compiled")

    def update(self, count: int) -> Any:
        """``count`` updates of all ranks together. The metrics are means over the whole batch."""
        return self._all("update", count)[0]

    def publish(self) -> Weights:
        return self.worker.publish()

    def weights(self) -> Weights:
        return self.worker.weights()

    def states(self) -> list[dict[str, Any]]:
        """Every rank's whole checkpoint; for tests: but for ``OWN`` they are equal bit by bit."""
        own, others = self._all("state_dict")
        return [own, *others]

    def state_dict(self) -> dict[str, Any]:
        self._tell("streams")
        return {**self.worker.state_dict(), "ranks": self._hear()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        own, streams = {k: v for k, v in state.items() if k != "ranks"}, state.get("ranks", [])
        same = len(streams) == self.ranks - 1
        self.worker.load_state_dict(own)
        self._load(own, list(streams) if same else [None] * (self.ranks - 1), renew=not same)

    def warm_start(self, tensors: Mapping[str, Any]) -> None:
        self.worker.warm_start(tensors)
        self._load(self.worker.state_dict(), [None] * (self.ranks - 1), renew=False)

    def _load(self, state: Mapping[str, Any], streams: list[Any], *, renew: bool) -> None:
        self._open()
        shared = {k: v for k, v in state.items() if k not in OWN}
        for child, own in zip(self._children, streams, strict=True):
            child.send("adopt", shared, own, renew)
        self._hear()

    def close(self) -> None:
        """Ends all ranks. May be called twice."""
        self._closing = True
        for child in self._children:
            child.leave()
        for child in self._children:
            child.end()
        if self._group is not None:
            self._group.close()
            self._group = None
        self._folder.cleanup()


class _Child:
    """One other rank, as rank 0 sees it."""

    def __init__(self, rank: int, order: tuple[Any, ...]) -> None:
        self.rank = rank
        self.line, theirs = Pipe()
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "learner.rank", str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
                pass_fds=(theirs.fileno(),),
            )
        self.send(*order)

    def send(self, *message: Any) -> None:
        with suppress(BrokenPipeError):  # noticed where its answer is awaited
            send(self.line, *message)

    def answer(self, timeout_s: float) -> Any:
        try:
            if not self.line.poll(timeout_s):
                raise RankDied(f"rank {self.rank} of the learner gave no answer within {timeout_s:.0f} s")
            good, value = self.line.recv()
        except (EOFError, ConnectionResetError):
            how = _how(self.process.wait(CLOSE_S))
            raise RankDied(
                f"rank {self.rank} of the learner died ({how}); fix: manyhands resume goes on from the last checkpoint"
            ) from None
        if not good:
            raise value
        return value

    def leave(self) -> None:
        """It ends when its line does."""
        self.line.close()

    def end(self) -> None:
        try:
            self.process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


def send(line: Connection, *message: Any) -> None:
    """Plain pickling: ``Connection.send`` would put tensors into shared memory, which needs a server."""
    line.send_bytes(pickle.dumps(message))
