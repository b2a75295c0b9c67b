"""Checks of simulator options, called when an ``Options`` object is built: before any simulator starts."""

from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from core.errors import ConfigError


def field_names(options: type) -> tuple[str, ...]:
    """The names of all options of a simulator."""
    return tuple(field.name for field in fields(options))


def validate(options: Any, simulator: str, **at_least: float) -> None:
    """Checks the type of every option, and the smallest value of those named in ``at_least``.

    Raises:
        ConfigError: says which option, its value and what is allowed.
    """
    for name, kind in get_type_hints(type(options)).items():
        value = getattr(options, name)
        if not _fits(value, kind):
            raise impossible(simulator, name, value, _allowed(kind))
    for name, lowest in at_least.items():
        if not getattr(options, name) >= lowest:
            raise impossible(simulator, name, getattr(options, name), f"{lowest} and up")


def impossible(simulator: str, option: str, value: Any, allowed: str) -> ConfigError:
    """The error for an option whose value cannot be."""
    return ConfigError(f"option {option!r} of simulator {simulator} is {value!r}. Allowed: {allowed}")


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    # A bool is an int to Python, but horizon=True is a slip.
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _allowed(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(repr(choice) for choice in get_args(kind))
    return {int: "a whole number", float: "a number", bool: "True or False", str: "a string"}[kind]
