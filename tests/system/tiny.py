"""The smallest real run: a dummy simulator, a network of 16 units, everything else as in a big one. And how to look into what it left."""

import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console

from actors.worker import Config as ActorConfig
from algos.sac import Config as SacConfig
from core.checkpoint import Checkpoints
from core.metrics import read_metrics
from core.rows import CLOSING
from learner.settings import Config as LearnerConfig
from manyhands import build, config_file
from manyhands.config import CheckpointConfig, EvaluationConfig, ReplayConfig, RunConfig
from manyhands.demos import of_run
from manyhands.loop import train
from manyhands.registry import Registry
from manyhands.run import Run
from manyhands.session import backend_of
from replay.ingest import Ingest
from replay.layout import undescribe
from simulators.dummy import Options

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120
BASE = RunConfig(
    preset="tiny",
    tasks=("dummy:point",),
    simulator=Options(horizon=20, extra_fields=False),
    algo=SacConfig(hidden=(16, 16), batch_size=16),
    total_steps=400,
    actors=ActorConfig(actors=2, simulators=2, chunk=8, random_steps=80),
    replay=ReplayConfig(capacity=20_000, updates_per_step=0.5, min_size=60, max_lead_steps=200),
    learner=LearnerConfig(threads=1, compile="eager", matmul="default"),
    evaluation=EvaluationConfig(every_steps=0, episodes=2),
    checkpoint=CheckpointConfig(every_s=1e6),
)


def tiny(**changes) -> RunConfig:
    """``tiny(total_steps=100, actors={"simulators": 3})``."""
    parts = {k: dataclasses.replace(getattr(BASE, k), **v) if isinstance(v, dict) else v for k, v in changes.items()}
    return dataclasses.replace(BASE, **parts).check()


def enter(config: RunConfig, root: Path) -> str:
    """A new run in the registry, with its demonstrations if it has any. Returns its id."""
    registry, shown = Registry(root), of_run.gather(config, root, Console(quiet=True))
    run = registry.create(config.preset, config.seed)
    config_file.save(config, registry.get(run).path / "config.json")
    of_run.keep(shown, registry.get(run).path)
    return run


@contextmanager
def opened(config: RunConfig, root: Path, run: str = "", *, step: int | None = None) -> Iterator[Run]:
    """A run that has been started in this process; with an id, resumed."""
    registry = Registry(root)
    row = registry.get(run or enter(config, root))
    with Run(config, build.task_spec(config), backend_of(config, row.path), registry, row.id, row.path) as made:
        made.start(resume=bool(run), step=step)
        yield made


def run_through(config: RunConfig, root: Path, *events: tuple[int, Callable[[Run], None]], run: str = "") -> Path:
    """A whole run in this process; each event happens once, at the first turn of the loop with so many env steps. Returns its folder."""
    with opened(config, root, run) as made:
        when(made, *events)
        train(made)
        made.finish()
        return made.folder


def when(run: Run, *events: tuple[int, Callable[[Run], None]]) -> None:
    waiting, done = list(events), run.done

    def watched() -> bool:
        for event in [e for e in waiting if run.fleet.counters.steps >= e[0]]:
            waiting.remove(event)
            event[1](run)
        return done()

    run.done = watched  # type: ignore[method-assign]


# ---- runs in processes of their own -----------------------------------------------------------------------------------


def spawn(*command: str, **options) -> subprocess.Popen:
    """A Python program beside this one, in a working directory that is not the checkout."""
    defaults = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": "/"}
    return subprocess.Popen([sys.executable, *command], **{**defaults, **options})


def start_child(config: RunConfig, root: Path, **options) -> tuple[subprocess.Popen, str]:
    """``manyhands train`` of a configuration that is no preset."""
    run = enter(config, root)
    return spawn(str(ROOT / "tests/system/child.py"), run, str(root), **options), run


def manyhands(*arguments: object, **options) -> subprocess.CompletedProcess:
    """The command line, to its end."""
    process = spawn("-m", "manyhands", *map(str, arguments), **options)
    out, err = process.communicate(timeout=PATIENCE_S)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def family(pid: int) -> list[psutil.Process]:
    """A process and all that descend from it."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def kill_9(process: subprocess.Popen) -> None:
    """Kills a run's own process, and waits until everything it had started is gone too; but ray's agents, which take a minute to notice."""
    everyone = [member for member in family(process.pid) if "Agent" not in "".join(member.cmdline())]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_for(lambda: not [p for p in everyone if p.is_running() and p.status() != psutil.STATUS_ZOMBIE], "processes to end")


def wait_for(condition: Callable[[], object], what: str, process: subprocess.Popen | None = None) -> None:
    until = time.monotonic() + PATIENCE_S
    while not _holds(condition):
        assert time.monotonic() < until, f"waited {PATIENCE_S} s for {what}"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.05)


def _holds(condition: Callable[[], object]) -> bool:
    try:
        return bool(condition())
    except psutil.NoSuchProcess:
        return True


def simulator_pid(parent: int, seed: int) -> int:
    """Of the process that has the simulator with this seed, below process ``parent``."""
    children = psutil.Process(parent).children(recursive=True)
    (found,) = [c.pid for c in children if any(part.startswith("seeds ") and str(seed) in part for part in c.cmdline())]
    return found


# ---- what a run left --------------------------------------------------------------------------------------------------


def saved(folder: Path, step: int | None = None):
    """A checkpoint of a run."""
    return Checkpoints(folder / "checkpoints").load(step)


def replayed(folder: Path, step: int | None = None) -> np.ndarray:
    """The rows of the first task in a checkpoint, in the order in which they were stored."""
    manifest = saved(folder, step).meta["replay"]
    sizes = {name: manifest[name] for name in ("tasks", "capacity", "window")}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as shm:
        writers = len(manifest["incarnation"])
        ingest = Ingest("looked-at", undescribe(manifest["descr"]), **sizes, writers=writers, directory=shm)
        ingest.load(folder, manifest)
        rows = ingest.ring.rows[0][ingest.ring.whole(0)].copy()
        ingest.close()
    return rows


def transitions(rows: np.ndarray) -> np.ndarray:
    """All but the closing rows: also those that were withdrawn."""
    return rows[rows["kind"] != CLOSING]


def steps_saved(folder: Path) -> list[int]:
    return Checkpoints(folder / "checkpoints").steps()


def evaluations(folder: Path) -> list[dict]:
    return [row for row in read_metrics(folder / "metrics.jsonl") if "eval/success_any" in row]


def assert_equal(one: object, other: object, where: str = "") -> None:
    """Two trees of a checkpoint, bit by bit."""
    if isinstance(one, dict):
        assert isinstance(other, dict), where
        assert one.keys() == other.keys(), where
        for key, value in one.items():
            assert_equal(value, other[key], f"{where}.{key}")
    elif hasattr(one, "shape"):
        assert one.dtype == other.dtype, where
        assert one.shape == other.shape, where
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes(), f"{where} differs"
    else:
        assert one == other, where
