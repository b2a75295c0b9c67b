"""Checkpoints of a run: folders that are either whole or not there, whatever moment the process dies.

    checkpoints/step_000012345/   <component>.safetensors + <component>.json, manifest.json, done
    checkpoints/latest            the name of the folder that a resumed run loads

A folder is written as ``step_X.tmp`` and renamed when the disk has all of it. ``done`` is written last and holds the checksum of the
manifest, which holds the checksums of the files. One process writes a folder of checkpoints; any number may read it meanwhile.
"""

import contextlib
import fcntl
import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from core import treefile
from core.errors import CheckpointError, ConfigError

SCHEMA = 1
"""Grows with every change of the layout that an older version cannot read."""
SLACK = 1 << 20
"""Bytes that must stay free beside the arrays, for the JSON files and the file system's own needs."""


class Loaded(NamedTuple):
    """A checkpoint, verified and read."""

    step: int
    components: dict[str, Any]
    """name -> the tree that was saved"""
    meta: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: made with the first save.
        keep_last: how many are kept, >= 1. One that is being loaded is never removed.
    """

    def __init__(self, folder: Path | str, keep_last: int = 2) -> None:
        if keep_last < 1:
            raise ConfigError(f"keep_last is {keep_last}. Allowed: 1 or more")
        self.folder = Path(folder)
        self.keep_last = keep_last

    def save(self, step: int, components: Mapping[str, Any], meta: Mapping[str, Any] | None = None) -> Path:
        """Writes a checkpoint, makes it the latest, and removes those that are too many.

        Checkpoints of later steps are removed as well: they belong to a course that the run has left by resuming from an earlier one.

        Args:
            step: env steps of the run.
            components: name (letters, digits, ``_ . -``) -> tree, see ``treefile.encode``.
            meta: whatever JSON can hold; kept in the manifest.

        Raises:
            CheckpointError: something cannot be saved, or the disk is full. Earlier checkpoints are untouched.
        """
        encoded = {_component(name): treefile.encode(tree) for name, tree in components.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        self._check_space(sum(len(blob.data) for _, blobs in encoded.values() for blob in blobs.values()))
        final = self.folder / _folder_name(step)
        unfinished = final.with_name(final.name + ".tmp")
        try:
            self._write(unfinished, step, encoded, dict(meta or {}))
            self._publish(unfinished, final)
            self._prune(step)
        except OSError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise CheckpointError(f"cannot write the checkpoint {final}: {error}. Earlier checkpoints are intact") from error
        return final

    def steps(self) -> list[int]:
        """The steps of all complete checkpoints, ascending."""
        found = (re.fullmatch(r"step_(\d+)(\.old)?", path.parent.name) for path in self.folder.glob("step_*/done"))
        return sorted({int(match[1]) for match in found if match})

    def load(self, step: int | None = None) -> Loaded:
        """Verifies every file of a checkpoint, then reads it.

        Args:
            step: which; None is the one that ``latest`` names.

        Raises:
            CheckpointError: there is none, or it is damaged; the message names the file, what is wrong, and an intact checkpoint.
        """
        if step is None:
            step = self._latest()
        elif step not in self.steps():
            have = ", ".join(map(str, self.steps())) or "none"
            raise CheckpointError(f"no complete checkpoint of step {step} in {self.folder}. There are: {have}")
        with self._reading(step) as path:
            try:
                manifest = _verify(path)
            except CheckpointError as error:
                raise CheckpointError(f"{error}. {self._advice(step)}") from None
            return Loaded(manifest["step"], {name: treefile.read(path, name) for name in manifest["components"]}, manifest["meta"])

    def manifests(self) -> list[dict[str, Any]]:
        """The manifests of the kept checkpoints, oldest first, for deciding what outside of them is still needed.

        One whose manifest is damaged is left out: it cannot be loaded, so it needs nothing.
        """
        manifests = []
        for step in self.steps():
            with contextlib.suppress(CheckpointError):
                manifests.append(_read_manifest(self._path(step)))
        return manifests

    def _write(self, folder: Path, step: int, encoded: Mapping[str, tuple[Any, dict]], meta: dict[str, Any]) -> None:
        folder.mkdir()
        components: dict[str, dict[str, Any]] = {}
        for name, (skeleton, blobs) in encoded.items():
            arrays = treefile.write(folder / f"{name}.safetensors", treefile.safetensors_bytes(blobs))
            rest = treefile.write(folder / f"{name}.json", [json.dumps(skeleton).encode()])
            components[name] = {f"{name}.safetensors": arrays._asdict(), f"{name}.json": rest._asdict()}
        manifest = {"schema": SCHEMA, "step": step, "created": time.time(), "components": components, "meta": meta}
        try:
            text = json.dumps(manifest, indent=1)
        except TypeError as error:
            shutil.rmtree(folder)
            raise CheckpointError(f"the meta of a checkpoint must be JSON: {error}") from None
        stored = treefile.write(folder / "manifest.json", [text.encode()])
        treefile.write(folder / "done", [stored.sha256.encode()])
        treefile.sync_folder(folder)

    def _publish(self, unfinished: Path, final: Path) -> None:
        replaced = final.with_name(final.name + ".old")
        if final.exists():
            # The same step again. Whoever comes between these two renames finds the old folder under its other name.
            final.rename(replaced)
        unfinished.rename(final)
        treefile.sync_folder(self.folder)
        pointer = self.folder / "latest.tmp"
        pointer.unlink(missing_ok=True)
        treefile.write(pointer, [f"{final.name}\n".encode()])
        pointer.rename(self.folder / "latest")
        treefile.sync_folder(self.folder)
        if replaced.exists():
            _remove(replaced)

    def _prune(self, saved: int) -> None:
        steps = self.steps()
        kept = [step for step in steps if step <= saved][-self.keep_last :]
        for step in set(steps) - set(kept):
            _remove(self._path(step))

    def _sweep(self) -> None:
        """Removes what a killed process left half written or half removed."""
        for leftover in self.folder.glob("step_*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        for replaced in self.folder.glob("step_*.old"):
            current = replaced.with_suffix("")
            if current.exists():
                _remove(replaced)
            else:
                replaced.rename(current)

    def _check_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if needed + SLACK > free:
            raise CheckpointError(
                f"a checkpoint needs {_size(needed + SLACK)} and {self.folder} has {_size(free)} free. "
                "Free some space; earlier checkpoints are intact"
            )

    def _path(self, step: int) -> Path:
        path = self.folder / _folder_name(step)
        return path if path.exists() else path.with_name(path.name + ".old")

    def _latest(self) -> int:
        steps = self.steps()
        if not steps:
            raise CheckpointError(f"no complete checkpoint in {self.folder}. Was the run stopped before its first one? Start it anew")
        pointer = self.folder / "latest"
        match = re.fullmatch(r"step_(\d+)\s*", pointer.read_text(errors="replace")) if pointer.exists() else None
        named = int(match[1]) if match else steps[-1]
        if named not in steps and self._path(named).exists():
            raise CheckpointError(f"the file {self._path(named) / 'done'} is missing. {self._advice(named)}")
        # No pointer or no such folder: the process died before its first pointer, or someone tidied up by hand.
        return named if named in steps else steps[-1]

    @contextlib.contextmanager
    def _reading(self, step: int) -> Iterator[Path]:
        """Holds a checkpoint against removal by the writing process while it is read."""
        path = self._path(step)
        try:
            held = (path / "done").open("rb")
        except FileNotFoundError:
            raise CheckpointError(f"the checkpoint {path} was removed just now by a newer one. Try again") from None
        with held:
            with contextlib.suppress(OSError):  # a file system without locks: then only luck protects a slow reader
                fcntl.flock(held, fcntl.LOCK_SH)
            yield path

    def _advice(self, damaged: int) -> str:
        for step in reversed(self.steps()):
            with contextlib.suppress(CheckpointError):
                if step != damaged and _verify(self._path(step)):
                    return f"The checkpoint {_folder_name(step)} is intact: pass --step {step}"
        return "There is no other intact checkpoint"


def _verify(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint all of whose files are as they were written."""
    manifest = _read_manifest(path)
    for files in manifest["components"].values():
        for name, stored in files.items():
            treefile.verify(path / name, stored)
    return manifest


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        text, expected = (path / "manifest.json").read_bytes(), (path / "done").read_text(errors="replace")
    except FileNotFoundError as error:
        raise CheckpointError(f"the file {error.filename} is missing") from None
    if hashlib.sha256(text).hexdigest() != expected.strip():
        raise CheckpointError(f"{path / 'manifest.json'} is damaged: its sha256 is not the one in the file done")
    manifest = json.loads(text)
    if manifest.get("schema") != SCHEMA:
        found = manifest.get("schema")
        raise CheckpointError(f"{path} has schema {found}, this version reads {SCHEMA}. Use the version of manyhands that wrote it")
    return manifest


def _remove(path: Path) -> None:
    """Removes a checkpoint unless someone is reading it; renamed first, so that a half removed one is never taken for a checkpoint."""
    with (path / "done").open("ab") as held:  # made where it is missing: such a folder goes too
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError:
            pass  # a file system without locks
        doomed = path.with_name(path.name + ".tmp")
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _folder_name(step: int) -> str:
    return f"step_{step:09d}"


def _component(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) or name in ("manifest", "done"):
        raise CheckpointError(f"the component name {name!r} cannot be a file name. Allowed: letters, digits and _ . -")
    return name


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
