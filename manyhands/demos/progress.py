"""How far collecting demonstrations is, as a person sees it: of ``manyhands demos collect``, and of a run that collects its own."""

import time
from typing import IO

from manyhands.demos.collect import State

EVERY_S = 10.0
"""between two lines of progress where they cannot be written over"""
WORTH_S = 2.0
"""seconds from which on it is told what is being waited for"""


class ProgressLine:
    """One line that is written over on a terminal, elsewhere a line from time to time.

    Args:
        to: where it is written; None: nowhere.
    """

    def __init__(self, to: IO[str] | None) -> None:
        self.to, self.over, self.written, self.width = to, to is not None and to.isatty(), 0.0, 0

    def show(self, state: State) -> None:
        """Shows it, if it is time to."""
        now = time.monotonic()
        if self.to is None or (not self.over and now - self.written < EVERY_S):
            return
        self.written, text = now, words(state)
        self.to.write(f"\r{text:<{self.width}}" if self.over else f"{text}\n")
        self.to.flush()
        self.width = len(text)

    def __enter__(self) -> "ProgressLine":
        return self

    def __exit__(self, *exception: object) -> None:
        if self.to is not None and self.over and self.width:
            self.to.write("\n")


def words(state: State) -> str:
    """``12 of 50 demonstrations (blocks:touch), 3 tries failed, 2 under way, the longest for 31 s, about 40 s left``."""
    of = f" ({state.task})" if state.task else ""
    parts = [f"{state.there + state.done} of {state.total} demonstrations{of}"]
    parts += [f"{state.retries + len(state.lost)} tries failed"] if state.retries or state.lost else []
    if state.launching_s >= WORTH_S:
        parts.append(f"starting a simulator for {state.launching_s:.0f} s")
    if state.longest_s >= WORTH_S:
        parts.append(f"{state.under_way} under way, the longest for {state.longest_s:.0f} s")
    left = state.left_s()
    if left:
        parts.append(f"about {left:.0f} s left" if left < 120 else f"about {left / 60:.0f} min left")
    return ", ".join(parts)
