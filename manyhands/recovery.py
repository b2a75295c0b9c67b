"""What a run that cannot go on bit by bit is resumed with beside its checkpoint: what its journal gave back, numbers not used before."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import ManyhandsError
from manyhands.counters import Counters
from replay.journal import FOLDER
from replay.journaled import Replayed

DIGITS = 20


class Recovered(NamedTuple):
    counters: Counters
    incarnations: dict[str, int]
    """of the actors that are to be started"""
    version: int
    """the newest that any actor may have had"""
    transitions: int
    """that replay holds beside those of the checkpoint"""


def recover(
    ask: Callable[..., Any], saved: Mapping[str, Any], actors: Sequence[str], manifest: Mapping[str, Any], replayed: Replayed | None
) -> Recovered:
    """After the ingest has loaded ``manifest``: withdraws what has no end, and counts anew what actors could not report any more.

    Args:
        ask: calls a method of a component, and waits.
        saved: states of the components.
        actors: their names, in the order of their writers.
    """
    stored = sum(ask("ingest", "counts")["transitions"])
    ask("ingest", "discard_open")
    own, newest, counters = saved["fleet"], ask("ingest", "incarnations"), Counters(**saved["fleet"]["counters"])
    # Where nothing is stored nobody has been: then actors begin as in a new run, at random where they are to.
    incarnations = {name: max(own["incarnations"].get(name, 0), newest[writer]) + bool(stored) for writer, name in enumerate(actors)}
    # Of the steps reported until the checkpoint, those in chunks not full by then are among what is stored now, or gone with their actor.
    unreported = stored - counters.stored - own.get("open", 0)
    counters.steps, counters.stored = counters.steps + max(0, unreported), stored
    version = max(saved["learner"]["version"], replayed.version if replayed is not None else 0)
    return Recovered(counters, incarnations, version, stored - sum(manifest["transitions"]))


class Published:
    """The newest weights version that an actor can have, in a file of the run: written before any has it, and there when the driver is not.

    Args:
        run: the folder of the run.
    """

    def __init__(self, run: Path) -> None:
        self.path, self._file = run / FOLDER / "version", -1

    def newest(self) -> int:
        """0 where none was noted."""
        text = self.path.read_text() if self.path.exists() else ""
        return int(text) if text.strip().isdigit() else 0

    def note(self, version: int) -> None:
        try:
            if self._file < 0:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            os.pwrite(self._file, f"{version:0{DIGITS}d}\n".encode(), 0)
        except OSError as error:
            raise ManyhandsError(f"cannot write {self.path}: {error.strerror}. What was saved is intact; fix: free space") from error

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1
