"""Train and resume: from settings to a finished run, with what a person sees on the way."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from core.errors import CheckpointError, ConfigError, ManyhandsError, TakenOver
from manyhands import config_file
from manyhands.arguments import runs_root
from manyhands.backends import Backend
from manyhands.config import ReplayConfig, RunConfig
from manyhands.placement import Placement
from manyhands.registry import Registry
from manyhands.registry import Run as Row
from manyhands.round_check import check_rounds
from manyhands.seeds_table import print_summary

if TYPE_CHECKING:
    from core.types import TaskSpec


def train_seeds(config: RunConfig, seeds: list[int], root: Path) -> int:
    """One run per seed, one after the other, and what they came to together. Returns the worst exit code."""
    console = Console()
    codes, folders = [], {}
    for seed in seeds:
        spec = check(own := replace(config, seed=seed), root, console)
        row = enter(own, root)
        folders[seed] = row.path
        codes.append(_go(own, spec, Registry(root), row, console, resume=False))
        if codes[-1] == 130:
            break
    if len(seeds) > 1:
        print_summary(console, folders, [seed for seed in seeds if seed not in folders])
    return max(codes)


def train_placed(config: RunConfig, placement: Placement, root: Path) -> int:
    """One run per seed, several at once, each in a process of its own. Returns the worst exit code."""
    from manyhands.seeds import Seeds

    console = Console()
    check(config, root, console, placement.at_once)
    crew = Seeds(config, placement, root)
    code = crew.go(console)
    print_summary(console, crew.folders(), crew.not_begun())
    return code


def dry_run(config: RunConfig, seeds: list[int], placement: Placement | None, root: Path) -> None:
    """What it would cost: of one seed, measured, and how several would share the machine."""
    from manyhands.estimate import print_estimate

    console = Console()
    print_estimate(config, check(config, root, console, 1 if placement is None else placement.at_once), root, console)
    if placement is not None:
        console.print(f"that is one seed with all cores; of {len(seeds)}, up to {placement.at_once} at once:", highlight=False)
        console.print("\n".join(f"  {line}" for line in placement.describe()), soft_wrap=True, highlight=False)
    elif len(seeds) > 1:
        console.print(f"that is one seed of {len(seeds)}, one after the other", highlight=False)


def check(config: RunConfig, root: Path, console: Console, at_once: int = 1, *, here: bool = True) -> "TaskSpec":
    """What can be known to be wrong of a run, or of so many at once, before any of it begins.

    Args:
        here: the learner will be on this machine.

    Raises:
        ConfigError: a GPU that is not here, tasks that do not go together, replay that does not fit.
        MissingExtra: what the simulators need is not installed.
    """
    prepare(root)
    if here:
        check_device(config)
    from core.rows import opening_rows
    from core.types import Rounds
    from manyhands import build, gateway, gateway_evaluator, warm_start
    from manyhands.demos import of_run
    from replay.memory import required_bytes
    from simulators import hooks

    if not config.gateway.clients:  # else it is the gateway that says why it is needed
        hooks.require(config.tasks)
    source = warm_start.find(config, root)
    first, *others = config.tasks
    more = f" and {len(others)} more tasks" if others else ""
    console.print(f"[dim]asking the simulator of {first}{more} ...[/dim]")
    spec = build.task_spec(config)
    size = build.ring_size(config, spec)
    if here:
        check_rings(required_bytes(*size), at_once, config.replay)
    warm_start.check(config, spec, source, console)
    of_run.check_use(config, spec)
    gateway.check(config, spec, at_once)
    gateway_evaluator.check(config)
    plan = build.algorithm(config, spec).plan
    if isinstance(plan, Rounds):
        check_rounds(config)
    else:
        chunk = opening_rows(size.dtype) + min(config.actors.chunk or spec.horizon, spec.horizon) + 1
        if size.capacity < chunk:
            fix = "a larger capacity, or a smaller actors.chunk"
            raise ConfigError(f"replay.capacity is {size.capacity} rows per task, a chunk of an actor takes {chunk}; fix: {fix}")
    check_trial(config, plan.trial)
    return spec


def check_trial(config: RunConfig, trial: int) -> None:
    """Raises ConfigError where a simulator changes its goal within a trial of so many episodes, and a trial is about one."""
    repeat = None if config.adapts_to_tasks else config.simulator_options.get("repeat")
    if trial > 1 and repeat is not None and repeat % trial and not all("@" in task for task in config.tasks):
        raise ConfigError(
            f"simulator.repeat is {repeat}, so goals change within a trial; {config.algorithm} plays {trial} episodes of one goal. "
            f"Fix: --simulator.repeat {trial}"
        )


def check_device(config: RunConfig) -> None:
    """Raises ConfigError where this machine has not the GPUs that the learner asks for; elsewhere the same settings may be right."""
    from learner import ranks
    from learner.device import choose

    choose(config.learner.device)
    ranks.check(config.learner.ranks, getattr(config.algo, "batch_size", 0), config.learner.device)


def check_rings(one: int, at_once: int, replay: ReplayConfig) -> None:
    """Raises ConfigError where the replays of so many runs, ``one`` byte count each, do not fit together into memory, or to where they
    are spilled."""
    from replay.memory import check_fits

    spilled = bool(replay.spill)
    check_fits(one, replay.folder, spilled=spilled)
    fit, reason = at_once, ""
    while fit > 1:
        try:
            check_fits(one * fit, replay.folder, spilled=spilled)
            break
        except ConfigError as error:
            fit, reason = fit - 1, reason or str(error).partition("; fix: ")[0]
    if fit < at_once:
        place = "disk" if spilled else "memory"
        raise ConfigError(
            f"more seeds at once than {place}: for {at_once} of them {reason}; fix: --at-once {fit}, or a smaller replay capacity"
        )


def enter(config: RunConfig, root: Path) -> Row:
    """A new run: its row and its folder with the settings, with a copy of the networks that it begins with, and of its demonstrations."""
    from manyhands import warm_start
    from manyhands.demos import of_run

    registry, source, shown = Registry(root), warm_start.find(config, root), of_run.gather(config, root, Console())
    try:
        run_id = registry.create(config.preset, config.seed)
    except OSError as error:
        raise ConfigError(f"the folder of the runs cannot be used: {error}. Name another by --runs or MANYHANDS_RUNS") from None
    row = registry.get(run_id)
    config_file.save(config, row.path / "config.json")
    if source is not None:
        warm_start.keep(source, row.path)
    of_run.keep(shown, row.path)
    return row


def begin(name: str, root: Path, learner: Mapping[str, Any]) -> int:
    """A run that another process has entered, from its start to its end in this one.

    Args:
        learner: settings of the learner that hold for this process only.
    """
    registry = Registry(root)
    row = registry.claim(name, force=True)
    try:
        config = config_file.load(row.path / "config.json")
        prepare(root)
        from manyhands import build

        spec = build.task_spec(config)
    except ManyhandsError as error:
        registry.update(row.id, status="failed", reason=str(error))
        raise
    return _go(replace(config, learner=replace(config.learner, **learner)), spec, registry, row, Console(), resume=False)


def resume(name: str, root: Path, step: int | None, *, force: bool = False, address: str | None = None, **learner: Any) -> int:
    """Goes on with a run from its newest checkpoint, or the one of ``step``.

    Args:
        force: also if it looks as if it were running on another machine.
        address: of the Ray cluster for this call, as ``cluster.address``; None: as the run's settings say.
        learner: settings of the learner for this call; what is empty or None stays as the run's settings say.
    """
    console = Console()
    registry = Registry(root)
    row = registry.get(name)
    config = config_file.load(row.path / "config.json")
    config = replace(config, learner=replace(config.learner, **{name: value for name, value in learner.items() if value}))
    if address is not None:
        config = replace(config, backend="ray", cluster=replace(config.cluster, address=address))
    prepare(root)
    check_device(config)
    from core.checkpoint import Checkpoints
    from manyhands import build
    from simulators import hooks

    hooks.require(config.tasks)
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

    keep = ("TORCHINDUCTOR_CACHE_DIR", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    env = {name: os.environ[name] for name in keep if name in os.environ}
    # Ray would set 1, and the learner takes all cores that torch says there are.
    env["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    return RayBackend(folder / "logs", env=env, address=config.cluster.address, actors=config.cluster.actors)


def _go(
    config: RunConfig, spec: "TaskSpec", registry: Registry, row: Row, console: Console, *, resume: bool, step: int | None = None
) -> int:
    from manyhands.conclude import conclude
    from manyhands.demos import of_run
    from manyhands.loop import train as loop
    from manyhands.run import Run

    console.print(f"run [bold]{row.id}[/bold] in {row.path}")
    try:
        of_run.check_fit(config, spec, row.path)
        with Run(config, spec, backend_of(config, row.path), registry, row.id, row.path) as run:
            try:
                run.fleet.crew.say = lambda line: console.print(line, highlight=False)
                run.start(resume=resume, step=step)
                console.print(f"[dim]{run.describe()}[/dim]")
                run.progress.attach(console)
                loop(run)
                run.finish()
            finally:
                run.progress.close()
            return conclude(run, console)
    except TakenOver:
        raise
    except ManyhandsError as error:
        registry.update(row.id, status="failed", reason=str(error))
        if isinstance(error, CheckpointError) or not _has_checkpoint(row):
            raise
        raise ManyhandsError(f"{error}. What was saved is intact; go on with: manyhands resume {command(registry, row.id)}") from error


def _has_checkpoint(row: Row) -> bool:
    from core.checkpoint import Checkpoints

    return bool(Checkpoints(row.path / "checkpoints").steps())


def command(registry: Registry, run: str) -> str:
    """A run as the next command has to name it."""
    return run if registry.root == runs_root() else f"{run} --runs {registry.root}"
