"""What a run that cannot go on bit by bit is resumed with beside its checkpoint: what its journal gave back, numbers not used before."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from core.errors import ManyhandsError
from manyhands.counters import Counters
from replay.journal import FOLDER
from replay.journaled import Replayed

DIGITS = 20


class Recovery:
    """What the driver keeps for the run that may come after its death, and what it found of the one before.

    Args:
        run: the folder of the run.
        journaled: what replay acknowledges is written down.
        free: off-policy, and not bit by bit. Else a version says which update it is, and comes again with it.
    """

    def __init__(self, run: Path, *, journaled: bool, free: bool) -> None:
        self.path, self._file = run / FOLDER / "version", -1
        self._free = free
        self.open: dict[str, int] = {}
        """env steps of each actor that were reported and are in chunks not full yet"""
        self.transitions = 0
        """that the journal gave back"""
        self.needs_save = journaled
        """whether the journal goes on from no checkpoint yet"""

    def newest(self) -> int:
        """The newest weights version that an actor can have had; 0 where none was noted."""
        text = self.path.read_text() if self.path.exists() else ""
        return int(text) if text.strip().isdigit() else 0

    def note(self, version: int) -> None:
        """Before any actor has it: in a file, which is there when the driver is not."""
        if not self._free:
            return
        try:
            if self._file < 0:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            os.pwrite(self._file, f"{version:0{DIGITS}d}\n".encode(), 0)
        except OSError as error:
            raise ManyhandsError(f"cannot write {self.path}: {error.strerror}. What was saved is intact; fix: free space") from error

    def recover(
        self, ask: Callable[..., Any], saved: dict[str, Any], actors: Sequence[str], manifest: dict[str, Any], replayed: Replayed | None
    ) -> tuple[Counters, dict[str, int]]:
        """After the ingest has loaded ``manifest``: withdraws what has no end, counts anew what actors could not report any more, and has
        the learner go on above all versions. Returns the counters, and the incarnations of the actors that are to be started.

        Args:
            ask: calls a method of a component, and waits.
            saved: states of the components.
            actors: their names, in the order of their writers.
        """
        stored = sum(ask("ingest", "counts")["transitions"])
        ask("ingest", "discard_open")
        own, newest, counters = saved["fleet"], ask("ingest", "incarnations"), Counters(**saved["fleet"]["counters"])
        # Where nothing is stored nobody has been: then actors begin as in a new run, at random where they are to.
        begun = {name: max(own["incarnations"].get(name, 0), newest[writer]) + bool(stored) for writer, name in enumerate(actors)}
        if self._free:
            # Of the steps reported until the checkpoint, those in chunks not full by then are among what is stored now, or gone.
            counters.steps += max(0, stored - counters.stored - own.get("open", 0))
            counters.stored = stored
            saved["learner"]["version"] = max(saved["learner"]["version"], self.newest(), replayed.version if replayed else 0)
        self.transitions = stored - sum(manifest["transitions"])
        self.needs_save = self.needs_save and replayed is None
        return counters, begun

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1
