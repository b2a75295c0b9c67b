"""``manyhands demos ...``: which command is which, and what ``collect`` and ``inspect`` print; ``exchange`` beside this has the others."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from core import demofile
from core.errors import DemoError, unknown
from manyhands.arguments import parse
from manyhands.demos import store
from manyhands.demos.arguments import CollectArguments, InspectArguments, files_of, usual_folder
from manyhands.demos.collect import collect
from manyhands.demos.exchange import export_, import_
from manyhands.demos.progress import ProgressLine

HELP = """\
usage: manyhands demos COMMAND [...]

  collect TASK ... [-n 10]   demonstrations by the simulator's own expert; --help lists retries, deadline, processes
  import SOURCE ...          demonstrations of RLBench: its own folders, or numpy files; --cameras front,wrist
  inspect [PATH ...]         what is in files of demonstrations, and whether they are whole
  export SOURCE ...          a data set of others: --format hdf5 or lerobot, --out FOLDER

Demonstrations are kept in ./runs/demos, or where --out or MANYHANDS_RUNS says. docs/demos.md describes the format.
"""
WIDE = 160
"""columns of a table that is not shown on a terminal"""
PROVENANCE = ("source", "seed", "variation", "rlbench_variation")
"""what of a demonstration's info is in the table of many"""


def demos(args: Sequence[str]) -> int:
    """Returns the exit code."""
    if not args or args[0] in ("-h", "--help", "help"):
        sys.stdout.write(HELP)
        return 0
    known: dict[str, Callable[[Sequence[str]], int]] = {"collect": _collect, "import": import_, "inspect": _inspect, "export": export_}
    if args[0] not in known:
        raise unknown("command of demos", args[0], known)
    return known[args[0]](args[1:])


def _collect(args: Sequence[str]) -> int:
    plan = parse(CollectArguments, args, "demos collect").plan()
    with ProgressLine(sys.stderr) as line:
        state = collect(plan, line.show)
    folders = [str(store.folder_of(plan.folder, task, plan.options)) for task in plan.tasks]
    sys.stdout.write(f"{state.done} collected, {state.there} were there, {state.retries} tries failed: {', '.join(folders)}\n")
    return 0


def _inspect(args: Sequence[str]) -> int:
    options = parse(InspectArguments, args, "demos inspect")
    paths = options.paths or (usual_folder(),)
    files = files_of(paths, store.ENDING)
    if not files:
        sys.stdout.write(f"no demonstrations in {', '.join(map(str, paths))}.\nnext: manyhands demos collect blocks:touch -n 10\n")
        return 0
    if len(files) == 1:
        Console().print(_in_full(files[0]))
        return 0
    table, problems = Table(box=None), []
    for column in ("file", "frames", "seen", "keyframes", "success", "MB", "provenance"):
        table.add_column(column, no_wrap=True, overflow="ellipsis" if column == "provenance" else "fold")
    for path in files:
        try:
            table.add_row(*map(escape, _row(path)))
        except DemoError as error:
            problems.append(str(error))
            table.add_row(escape(_short(path)), "[red]not valid[/red]")
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)
    if problems:
        raise DemoError(f"{len(problems)} of {len(files)} files are not valid: {problems[0]}")
    return 0


def _row(path: Path) -> tuple[str, ...]:
    demo = demofile.read(path)
    told = [f"{name} {demo.info[name]}" for name in PROVENANCE if name in demo.info]
    numbers = (str(len(demo.motion["gripper_pose"])), str(len(demo.frames)), str(len(demo.keyframes)), "yes" if demo.success else "no")
    return (_short(path), *numbers, f"{path.stat().st_size / 1e6:.2f}", ", ".join(told))


def _in_full(path: Path) -> Table:
    """All that is known of one demonstration."""
    demo, table = demofile.read(path), Table(box=None, show_header=False)
    packed, plain = path.stat().st_size, sum(values.nbytes for values in (*demo.motion.values(), *demo.observations.values()))
    facts = {
        "file": str(path),
        "task": demo.task,
        "frames": f"{len(demo.motion['gripper_pose'])}, of which {len(demo.frames)} are observed",
        "keyframes": " ".join(map(str, demo.keyframes.tolist())),
        "success": "yes" if demo.success else "no",
        "size": f"{packed / 1e6:.2f} MB, {plain / 1e6:.2f} MB in memory",
        "motion": _shapes(demo.motion),
        "observations": _shapes(demo.observations),
        "actions": "none: the poses at keyframes say them" if demo.actions is None else _shapes({"actions": demo.actions}),
    }
    for key, value in {**facts, **demo.info}.items():
        table.add_row(key, escape(value))
    return table


def _shapes(arrays: Mapping[str, NDArray]) -> str:
    return ", ".join(f"{name} {values.dtype}{list(values.shape)}" for name, values in arrays.items())


def _short(path: Path) -> str:
    """``blocks/touch/000.demo``"""
    return str(Path(*path.parts[-3:]))
