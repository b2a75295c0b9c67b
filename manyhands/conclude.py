"""The last words of a run: what happened, honestly, and the next command."""

from rich.console import Console

from manyhands.balance import sentence
from manyhands.outcome import of_run, outcome_table
from manyhands.run import Run
from manyhands.session import command


def conclude(run: Run, console: Console) -> int:
    """Says what happened, honestly, and the next command; lines are not broken, so that the command can be copied."""
    steps, took = run.fleet.counters.steps, f"{run.fleet.counters.steps:,} env steps, {run.progress.elapsed_s:.0f} s of training"
    target, best, name = run.config.evaluation.target_success, run.outcomes.best, command(run.registry, run.id)
    if run.reason == "stopped":
        console.print(f"stopped and saved after {took}.\nnext: manyhands resume {name}", soft_wrap=True)
        return 130
    bound = f"{sentence(run.fleet.balance.shares(), run.fleet.balance.strict)}\n"
    if run.unplayed:
        console.print(f"[yellow]{run.unplayed}[/yellow]", soft_wrap=True)
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
    goals = "its training goals" if run.config.own_goals(0) == "training-goals" else "50 fresh goals"
    follow = f"next: manyhands eval {name}   ({goals})   or: manyhands show {name}"
    console.print(f"{said}\n{bound}the run is in {run.folder}\n{follow}", soft_wrap=True)
    return 1 if target and not met else 0
