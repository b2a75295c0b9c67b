"""config.json: a run's settings as plain data, and back again, strictly."""

import dataclasses
import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import algos
import simulators
from core.errors import ConfigError, unknown
from manyhands.config import SCHEMA, RunConfig, to_dict


def save(config: RunConfig, path: Path) -> None:
    path.write_text(json.dumps(to_dict(config), indent=1) + "\n")


def load(path: Path) -> RunConfig:
    """Reads a config.json strictly.

    Raises:
        ConfigError: missing or unreadable file, unknown or missing key, wrong type.
    """
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing: the folder is not a run of manyhands") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid JSON ({error})") from None
    return from_dict(data, str(path))


def from_dict(data: Any, path: str) -> RunConfig:
    """Plain data, as ``to_dict`` gives it, read strictly.

    Args:
        path: for errors.
    """
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ConfigError(f"{path} is of another schema than {SCHEMA}; it was written by another version of manyhands")
    data = {key: value for key, value in data.items() if key != "schema"}
    for key in ("algorithm", "tasks"):
        if key not in data:
            raise ConfigError(f"{path}: key {key!r} is missing")
    types = {"algo": algos.find(data["algorithm"]).Config, "simulator": _options_type(data["tasks"][0])}
    if isinstance(data.get("algo"), dict) and "inner" in data["algo"]:  # of the algorithm that it wraps
        types["settings"] = algos.find(data["algo"]["inner"]).Config
    return _build(RunConfig, data, Path(path).name, types).check()


def _options_type(task: str) -> type:
    return import_module(f"simulators.{simulators.split(task)[0]}").Options


def _build(kind: type, data: Any, where: str, types: Mapping[str, type]) -> Any:
    """Plain data -> the dataclass ``kind``; ``types`` names the classes of fields annotated ``object``."""
    if not isinstance(data, dict):
        raise ConfigError(f"{where} is {data!r}; a table of settings is expected")
    hints = get_type_hints(kind)
    for key in data:
        if key not in hints:
            raise unknown(f"key of {where}", key, hints)
    missing = [f.name for f in dataclasses.fields(kind) if f.name not in data and f.default is f.default_factory is dataclasses.MISSING]
    if missing:
        raise ConfigError(f"{where}: key {missing[0]!r} is missing")
    return kind(**{key: _value(types.get(key, hints[key]), value, f"{where}: {key}", types) for key, value in data.items()})


def _value(kind: Any, value: Any, where: str, types: Mapping[str, type]) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, where, types)  # type: ignore[arg-type]
    origin = get_origin(kind)
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{where} is {value!r}; a list is expected")
        return tuple(_value(get_args(kind)[0], v, where, types) for v in value)
    if origin is Literal:
        good = value in get_args(kind)
    elif origin in (Union, UnionType):
        good = any(_is(value, k) for k in get_args(kind))
    else:
        good = _is(value, kind)
    if not good:
        raise ConfigError(f"{where} is {value!r}; {getattr(kind, '__name__', kind)} is expected")
    return value


def _is(value: Any, kind: Any) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
