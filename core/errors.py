"""Every error a user can cause or meet; each message says what, where, what is allowed and the fix."""

from collections.abc import Iterable
from difflib import get_close_matches


class ManyhandsError(Exception):
    """Base of the errors that the command line prints as one line with exit code 2."""


class ConfigError(ManyhandsError):
    """A setting is unknown, impossible, or too large for this machine. Raised before anything starts."""


class CheckpointError(ManyhandsError):
    """A checkpoint is missing, incomplete, damaged, or of another schema."""


class TakenOver(ManyhandsError):  # noqa: N818 - an event, which is nobody's fault
    """Another process goes on with this run; this one must write nothing more of it."""


class DemoError(ManyhandsError):
    """A demonstration is missing, damaged, of another format, or of something else than what it is needed for."""


class MissingExtra(ManyhandsError):  # noqa: N818 - reads better at the raise
    """An optional package is needed and absent; the message carries the install line."""


class SimulatorError(ManyhandsError):
    """A simulator crashed, hung, or broke its contract.

    Args:
        message: what happened, in which simulator.
        retryable: True where a fresh process may well succeed.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable

    def __reduce__(self) -> tuple:
        return _simulator_error, (str(self), self.retryable)


def _simulator_error(message: str, retryable: bool) -> SimulatorError:
    """Exceptions cross process borders by their positional arguments."""
    return SimulatorError(message, retryable=retryable)


def unknown(what: str, value: str, allowed: Iterable[str]) -> ConfigError:
    """The error for a name that is not in a known set, with the closest match as the suggestion."""
    known = sorted(allowed)
    close = get_close_matches(value, known, n=1, cutoff=0.5)
    hint = f" Perhaps you meant {close[0]!r}." if close else ""
    shown = ", ".join(known[:12]) + (f", ... ({len(known)} in all)" if len(known) > 12 else "")
    return ConfigError(f"unknown {what} {value!r}.{hint} Allowed: {shown}")
