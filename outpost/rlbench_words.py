"""Why a demonstration failed. RLBench only logs that, as information that nobody sees, and then raises without a reason."""

from __future__ import annotations

import contextlib
import sys
from typing import Any, Iterator

_MODULE, _BEGIN = "rlbench.task_environment", "Bad demo. "


class _Ear:
    """Stands for the module ``logging``: takes down what is said, on whatever level."""

    def __init__(self, said: list[str]) -> None:
        self._said = said

    def __getattr__(self, _: str) -> Any:
        return self._hear

    def _hear(self, text: Any, *values: Any, **_: Any) -> None:
        words = " ".join(str(text % values if values else text).split())
        self._said.append(words[len(_BEGIN) :] if words.startswith(_BEGIN) else words)


@contextlib.contextmanager
def reasons() -> Iterator[list[str]]:
    """What RLBench logs within about demonstrations, one line each; nothing where it does so in another way."""
    said: list[str] = []
    module: Any = sys.modules.get(_MODULE)
    before = getattr(module, "logging", None)
    if before is not None:
        module.logging = _Ear(said)
    try:
        yield said
    finally:
        if before is not None:
            module.logging = before
