"""Presets: one module each, with a function ``preset() -> RunConfig`` of at most 30 lines and the source of its numbers; and the families
of ``_meta_world`` and ``_vision_names``, a method on a benchmark each.

Names and summaries are read from the files, so that listing them loads nothing.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import unknown
from manyhands.presets import _meta_world, _vision_names

if TYPE_CHECKING:
    from manyhands.config import RunConfig


FAMILIES = (_meta_world, _vision_names)


def names() -> tuple[str, ...]:
    """``reach-sac`` is the module ``reach_sac``."""
    own = (path.stem.replace("_", "-") for path in Path(__file__).parent.glob("[a-z]*.py"))
    return tuple(sorted((*own, *(name for family in FAMILIES for name in family.names()))))


def summary(name: str) -> str:
    """In one line."""
    for family in FAMILIES:
        if name in family.names():
            return family.summary(name)
    text = (Path(__file__).parent / f"{name.replace('-', '_')}.py").read_text()
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def find(name: str) -> "RunConfig":
    """The preset's settings.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in names():
        raise unknown("preset", name, names())
    for family in FAMILIES:
        if name in family.names():
            return family.find(name)
    return import_module(f"manyhands.presets.{name.replace('-', '_')}").preset()
