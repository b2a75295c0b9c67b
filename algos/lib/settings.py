"""Checks of settings that several algorithms have: each says the field, its value, and what is allowed."""

from collections.abc import Sequence
from typing import Any

from core.errors import ConfigError


def positive(config: Any, *names: str) -> None:
    """
    Raises:
        ConfigError: one of these fields is not above 0.
    """
    for name in names:
        if not getattr(config, name) > 0:
            raise ConfigError(f"algo.{name} is {getattr(config, name)}; it must be positive")


def not_negative(config: Any, *names: str) -> None:
    """
    Raises:
        ConfigError: one of these fields is below 0.
    """
    for name in names:
        if not getattr(config, name) >= 0:
            raise ConfigError(f"algo.{name} is {getattr(config, name)}; it must be 0 or more")


def share(config: Any, *names: str) -> None:
    """
    Raises:
        ConfigError: one of these fields is not in [0, 1].
    """
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise ConfigError(f"algo.{name} is {getattr(config, name)}; it must be in [0, 1]")


def positive_share(config: Any, *names: str) -> None:
    """
    Raises:
        ConfigError: one of these fields is not in (0, 1].
    """
    for name in names:
        if not 0 < getattr(config, name) <= 1:
            raise ConfigError(f"algo.{name} is {getattr(config, name)}; it must be in (0, 1]")


def shrinking(config: Any, *names: str) -> None:
    """
    Raises:
        ConfigError: one of these fields, by which something is multiplied again and again, is not between 0 and 1.
    """
    for name in names:
        if not 0 < getattr(config, name) < 1:
            raise ConfigError(f"algo.{name} is {getattr(config, name)}; it must be between 0 and 1")


def layers(config: Any, *names: str, least: int = 0) -> None:
    """
    Raises:
        ConfigError: one of these fields is no list of layer sizes, or of fewer than ``least``. No layer at all is a linear network.
    """
    for name in names:
        sizes = getattr(config, name)
        if len(sizes) < least or min(sizes, default=1) < 1:
            needs = "every layer needs at least one unit" if not least else f"it needs {least} or more layers of at least one unit"
            raise ConfigError(f"algo.{name} is {sizes}; {needs}")


def one_of(config: Any, name: str, allowed: Sequence[str]) -> None:
    """
    Raises:
        ConfigError: the field is none of the allowed words.
    """
    if getattr(config, name) not in allowed:
        raise ConfigError(f"algo.{name} is {getattr(config, name)!r}; allowed: {', '.join(allowed)}")


def between(config: Any, low: str, name: str, high: str) -> None:
    """
    Raises:
        ConfigError: the field is not between two others.
    """
    least, value, most = (getattr(config, field) for field in (low, name, high))
    if not least <= value <= most:
        raise ConfigError(f"algo.{name} is {value}; it must be between algo.{low} = {least} and algo.{high} = {most}")
