"""Train and resume: from settings to a finished run, with what a person sees on the way."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from core.errors import CheckpointError, ConfigError, ManyhandsError
from manyhands import config as configs
from manyhands.arguments import runs_root
from manyhands.backends import Backend
from manyhands.config import RunConfig
from manyhands.registry import Registry
from manyhands.registry import Run as Row

if TYPE_CHECKING:
    from core.types import TaskSpec
    from manyhands.run import Run


def train_seeds(config: RunConfig, seeds: list[int], root: Path) -> int:
    """One run per seed, one after the other. Returns the worst exit code."""
    console = Console()
    codes = []
    for seed in seeds:
        codes.append(train(replace(config, seed=seed), root, console))
        if codes[-1] == 130:
            break
    return max(codes)


def train(config: RunConfig, root: Path, console: Console) -> int:
    """A new run."""
    prepare(root)
    from manyhands import build
    from replay.memory import check_fits, required_bytes
    from replay.windows import rows_read

    console.print(f"[dim]asking the simulator of {config.tasks[0]} ...[/dim]")
    spec = build.task_spec(config)
    plan, dtype = build.algorithm(config, spec).plan, build.rows(config, spec)
    sizes = dtype, len(config.tasks), config.replay.capacity, config.actors.actors, rows_read(dtype, plan)
    check_fits(required_bytes(*sizes))
    registry = Registry(root)
    try:
        run_id = registry.create(config.preset, config.seed)
    except OSError as error:
        raise ConfigError(f"the folder of the runs cannot be used: {error}. Name another by --runs or MANYHANDS_RUNS") from None
    folder = registry.get(run_id).path
    configs.save(config, folder / "config.json")
    return _go(config, spec, registry, registry.get(run_id), console, resume=False)


def resume(name: str, root: Path, step: int | None, *, force: bool = False) -> int:
    """Goes on with a run from its newest checkpoint, or the one of ``step``."""
    console = Console()
    registry = Registry(root)
    row = registry.get(name)
    config = configs.load(row.path / "config.json")
    prepare(root)
    from core.checkpoint import Checkpoints
    from manyhands import build

    checkpoints = Checkpoints(row.path / "checkpoints", config.checkpoint.keep)
    if checkpoints.steps():
        checkpoints.load(step)  # damaged ones are refused before anything of the run is touched
    elif step is not None:
        raise ConfigError(f"{row.id} has no checkpoint of step {step}; it has none at all")
    spec = build.task_spec(config)
    registry.claim(row.id, force=force)
    return _go(config, spec, registry, row, console, resume=True, step=step)


def prepare(root: Path) -> None:
    """Settings of libraries that must stand before they are loaded."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str((root / ".cache" / "inductor").absolute()))


def backend_of(config: RunConfig, folder: Path) -> Backend:
    if config.backend == "inline":
        from manyhands.backends.inline import Inline

        return Inline()
    import torch

    from manyhands.backends.ray_backend import RayBackend

    keep = ("TORCHINDUCTOR_CACHE_DIR", "OPENBLAS_NUM_THREADS")
    env = {name: os.environ[name] for name in keep if name in os.environ}
    # Ray would set 1, and the learner takes all cores that torch says there are.
    return RayBackend(folder / "logs", env={**env, "OMP_NUM_THREADS": str(torch.get_num_threads())})


def _go(
    config: RunConfig, spec: "TaskSpec", registry: Registry, row: Row, console: Console, *, resume: bool, step: int | None = None
) -> int:
    from manyhands.loop import train as loop
    from manyhands.run import Run

    console.print(f"run [bold]{row.id}[/bold] in {row.path}")
    try:
        with Run(config, spec, backend_of(config, row.path), registry, row.id, row.path) as run:
            try:
                run.start(resume=resume, step=step)
                console.print(f"[dim]{run.describe()}[/dim]")
                run.progress.attach(console)
                loop(run)
                run.finish()
            finally:
                run.progress.close()
            return _conclude(run, console)
    except ManyhandsError as error:
        registry.update(row.id, status="failed", reason=str(error))
        if isinstance(error, CheckpointError) or not _has_checkpoint(row):
            raise
        raise ManyhandsError(f"{error}. What was saved is intact; go on with: manyhands resume {_command(registry, row.id)}") from error


def _has_checkpoint(row: Row) -> bool:
    from core.checkpoint import Checkpoints

    return bool(Checkpoints(row.path / "checkpoints").steps())


def _command(registry: Registry, run: str) -> str:
    """A run as the next command has to name it."""
    return run if registry.root == runs_root() else f"{run} --runs {registry.root}"


def _conclude(run: "Run", console: Console) -> int:
    """Says what happened, honestly, and the next command; lines are not broken, so that the command can be copied."""
    from manyhands.balance import sentence
    from manyhands.outcome import of_run, outcome_table

    steps, took = run.fleet.counters.steps, f"{run.fleet.counters.steps:,} env steps, {run.progress.elapsed_s:.0f} s of training"
    target, best, name = run.config.evaluation.target_success, run.outcomes.best, _command(run.registry, run.id)
    if run.reason == "stopped":
        console.print(f"stopped and saved after {took}.\nnext: manyhands resume {name}", soft_wrap=True)
        return 130
    bound = f"{sentence(run.fleet.balance.shares(), run.fleet.balance.strict)}\n"
    if best is None:
        console.print(f"done after {took}; there was no evaluation.\n{bound}next: manyhands eval {name}", soft_wrap=True)
        return 0
    met = run.reason == "target"
    shown = run.outcomes.last if met and run.outcomes.last else best
    result = f"success any {shown['success_any']:.0%}, last {shown['success_last']:.0%} of {shown['episodes']} evaluation episodes"
    if len(run.config.tasks) > 1:
        which = f"{'last' if met else 'best'} evaluation, at {shown['steps']:,} steps, weights version {shown['version']}"
        console.print(outcome_table(which, of_run(shown["tasks"])))
        result += f" (worst task {shown['success_any_min']:.0%})"
    if met:
        said = f"[green]reached the target[/green]: {result}, after {took}."
    elif target:
        said = f"[yellow]did not reach the target of {target:.0%}[/yellow] in {steps:,} steps; best: {result}, at {best['steps']:,} steps."
    else:
        said = f"done after {took}; best: {result}, at {best['steps']:,} steps."
    follow = f"next: manyhands eval {name}   (50 fresh goals)   or: manyhands show {name}"
    console.print(f"{said}\n{bound}the run is in {run.folder}\n{follow}", soft_wrap=True)
    return 1 if target and not met else 0
