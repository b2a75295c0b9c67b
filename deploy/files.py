"""Rendered files: YAML the same every time, templates with holes, and a folder that nothing of somebody else is overwritten in."""

import os
import string
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from core.errors import ConfigError


class _Plain(yaml.SafeDumper):
    """Without anchors, lists indented: as people write manifests."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        return super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Several lines as they are, not folded into one."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Plain.add_representer(str, _text)


def as_yaml(*documents: Mapping[str, Any]) -> str:
    """Keys in the order given."""
    return yaml.dump_all(documents, Dumper=_Plain, sort_keys=False, width=10_000, explicit_start=len(documents) > 1)


def parse_yaml(text: str) -> Any:
    """The document of a text that we rendered."""
    return yaml.safe_load(text)


def read_yaml(path: Path, option: str) -> list[Any]:
    """All documents of a file.

    Raises:
        ConfigError: there is none, or it is no YAML; ``option`` named it.
    """
    try:
        return list(yaml.load_all(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{option} {path} cannot be read: {str(error).partition(chr(10))[0]}") from None


def template(name: str, **holes: object) -> str:
    """A file of ``deploy/templates``. ``@{hole}`` is filled, and nothing else is touched: shells and Dockerfiles are full of ``$``."""
    text = resources.files("deploy").joinpath("templates", name).read_text()
    return _Template(text).substitute({key: str(value) for key, value in holes.items()})


class _Template(string.Template):
    delimiter = "@"
    # Only @{name}: a lone @ is just that.
    pattern = r"@(?:(?P<escaped>(?!))|(?P<named>(?!))|\{(?P<braced>[a-z_]+)\}|(?P<invalid>(?!)))"  # type: ignore[assignment]


def write(files: Mapping[str, str], out: Path, *, force: bool = False) -> list[Path]:
    """Writes what differs; scripts become executable. Returns all paths.

    Raises:
        ConfigError: something else is where a file belongs, and ``force`` is not given; or the folder cannot be written to.
    """
    paths = {out / name: text for name, text in sorted(files.items())}
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file. Name a folder, new or empty")
    changed = [path for path, text in paths.items() if path.exists() and not (path.is_file() and path.read_text() == text)]
    if changed and not force:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise ConfigError(f"{changed[0]}{more} exists and differs. Name another folder by --out, or overwrite: --force")
    try:
        for path, text in paths.items():
            _write(path, text)
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be written to: {error.strerror}. Name another folder") from None
    return list(paths)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.tmp")
    fresh.write_text(text)
    fresh.chmod(0o755 if text.startswith("#!") else 0o644)
    os.replace(fresh, path)
