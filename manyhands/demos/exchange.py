"""``manyhands demos import`` and ``export``: what they print, and their exit codes."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from core import demofile
from core.demos import Demo
from core.errors import ConfigError, DemoError
from manyhands.arguments import parse
from manyhands.demos import export, hdf5, lerobot, rlbench, rlbench_tree, store
from manyhands.demos.arguments import ExportArguments, ImportArguments, files_of

NOTHING = "files TASK.NUMBER.npz, or folders with such or with RLBench's own TASK/variation0/episodes/episode0/low_dim_obs.pkl"


class Found(NamedTuple):
    """A demonstration that may be imported."""

    path: Path
    """where it goes"""
    read: Callable[[], Demo]


def import_(args: Sequence[str]) -> int:
    """Returns the exit code."""
    options = parse(ImportArguments, args, "demos import")
    cameras = rlbench.checked(options.camera_names())
    sources: list[Callable[[], Found]] = [partial(_of_file, file, options.out) for file in files_of(options.source, ".npz")]
    for folder in (source for source in options.source if source.is_dir()):
        sources += [partial(_of_tree, episode, cameras, options.out) for episode in rlbench_tree.episodes(folder)]
    if not sources:
        raise ConfigError(f"demos import needs {NOTHING}: manyhands demos import SOURCE ... [--out FOLDER]")
    done, problems, folders = 0, [], set()
    for source in sources:
        try:
            found = source()
            folders.add(str(found.path.parent))
            if not found.path.exists():
                demofile.write(found.path, found.read())
                done += 1
        except DemoError as error:
            problems.append(str(error))
    there = len(sources) - done - len(problems)
    sys.stdout.write(f"{done} imported, {there} were there: {', '.join(sorted(folders)) or 'none'}\n")
    if problems:
        raise DemoError(f"{len(problems)} of {len(sources)} could not be imported: {problems[0]}")
    return 0


def _of_file(file: Path, out: Path) -> Found:
    task, number = rlbench.named(file)
    return Found(store.path_of(store.folder_of(out, f"rlbench:{task}"), number), lambda: rlbench.read(file))


def _of_tree(episode: rlbench_tree.Episode, cameras: Sequence[str], out: Path) -> Found:
    """Goes where a run finds it that wants such cameras and this variation."""
    size = rlbench_tree.size_of(episode, cameras[0])
    variation = -1 if episode.variation is None else episode.variation
    options = {"cameras": ",".join(cameras), "size": size, "variation": variation}
    folder = store.folder_of(out, f"rlbench:{episode.task}", options)
    return Found(store.path_of(folder, episode.number), lambda: rlbench_tree.read(episode, cameras))


def export_(args: Sequence[str]) -> int:
    """Returns the exit code."""
    options = parse(ExportArguments, args, "demos export")
    options.check()
    files = files_of(options.source, store.ENDING)
    if not files:
        raise ConfigError("demos export needs demonstrations: manyhands demos export SOURCE ... --format hdf5 --out FOLDER")
    formats: dict[str, export.Write] = {
        "hdf5": hdf5.write,
        "lerobot": lambda folder, demos, about: lerobot.write(folder, demos, about, options.fps),
    }
    demos, rows = export.export(files, options.out, options.action, formats[options.format])
    sys.stdout.write(f"{demos} demonstrations, {rows} rows, the action is the {options.action.replace('-', ' ')}'s pose: {options.out}\n")
    return 0
