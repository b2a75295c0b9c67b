"""Learner side: the process of one rank but the first. Does what rank 0 says over a pipe; dies with it."""

import ctypes
import logging
import os
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

import torch

from core.errors import ManyhandsError
from learner.group import Group, mean_over
from learner.ranks import OWN, Factory, RankDied, send

PR_SET_PDEATHSIG = 1
log = logging.getLogger(__name__)


class Rank:
    """One learner among the ranks. What it draws with is its own."""

    def __init__(self, factory: Factory, group: Group) -> None:
        self.factory, self.group = factory, group
        self.worker = self._made(0)

    def _made(self, updates: int) -> Any:
        return self.factory(self.group.rank, mean_over(self.group), updates)

    def do(self, method: str, *args: Any) -> Any:
        if method in ("streams", "adopt"):
            return getattr(self, method)(*args)
        with self.group.updating():
            return getattr(self.worker, method)(*args)

    def streams(self) -> dict[str, Any]:
        return _own(self.worker)

    def adopt(self, shared: dict[str, Any], own: dict[str, Any] | None, renew: bool) -> None:
        """Takes over rank 0's state, with its own streams: those given, new ones, or those it has."""
        if own is None:
            own = self._new(shared["updates"]) if renew else _own(self.worker)
        self.worker.load_state_dict({**shared, **own})

    def _new(self, updates: int) -> dict[str, Any]:
        return _own(self._made(updates))


def _own(worker: Any) -> dict[str, Any]:
    return {k: v for k, v in worker.state_dict().items() if k in OWN}


def serve(line: Connection) -> None:
    """Answers (True, value) or (False, error); ends when the line does, or after an error: the others must not wait for this rank."""
    factory, store, rank, ranks, name, timeout_s = line.recv()
    device = torch.device(name)
    try:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        send(line, True, None)
        mine = Rank(factory, Group(store, rank, ranks, device, timeout_s))
        send(line, True, None)
        while True:
            send(line, True, mine.do(*line.recv()))
    except EOFError:
        return
    except ManyhandsError as error:
        send(line, False, error)
    except Exception as error:
        log.debug("rank %d failed", rank, exc_info=True)
        send(line, False, RankDied(f"rank {rank} of the learner failed: {type(error).__name__}: {error}"))


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # rank 0's to handle: it needs this rank to save
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[2]):
        sys.exit("the parent died first")
    serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # a group's threads may still wait for ranks that are gone
