"""The table that ``manyhands finetune`` ends with: success over env steps of new tasks, after adaptation and without."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from protocols.rows import Results


class Judged(NamedTuple):
    """One point of one curve."""

    task: str
    seed: int
    asked: int
    """env steps on the task that the stage was to end at"""
    steps: int
    """that it had"""
    results: "Results"


def curve_tables(title: str, found: Sequence[Judged], asked: Sequence[int]) -> list[Any]:
    """Success after adaptation, then its zero-shot control; one table where nothing adapts."""
    adaptation = max(found[0].results.looks)
    if not adaptation:
        return [curve_table(title, found, asked)]
    adapted = [one._replace(results=one.results.adapted()) for one in found]
    control = [one._replace(results=one.results.zero_shot()) for one in found]
    after = f"after {adaptation} adaptation episodes"
    return [
        curve_table(f"{title}, {after}", adapted, asked),
        curve_table(f"{title}, zero-shot: the same goals without adaptation", control, asked),
    ]


def curve_table(title: str, found: Sequence[Judged], asked: Sequence[int]) -> Any:
    """Success at any step, a line per task and a column per number of env steps; intervals as the caption says."""
    import numpy as np

    from manyhands.outcome import task_table
    from protocols.statistics import estimate, mean, wilson_interval

    tasks, seeds = (tuple(dict.fromkeys(getattr(one, name) for one in found)) for name in ("task", "seed"))
    success = {(one.task, one.seed, one.asked): one.results.column("success_any") for one in found}
    caption = "success at any step; of a task: 95 % interval over episodes (Wilson)"
    caption += f"; of the mean: stratified bootstrap over {len(seeds)} seeds" if len(seeds) > 1 else "; of the mean: one seed has none"
    table = task_table(title, caption, [_taken(found, n) for n in asked])
    for task in tasks:
        cells = []
        for n in asked:
            flags = [success[key] for key in ((task, seed, n) for seed in seeds) if key in success]
            flat = np.concatenate(flags) if flags else np.zeros(0)
            cells.append(_cell(flat.mean(), *wilson_interval(int(flat.sum()), len(flat))) if len(flat) else "-")
        table.add_row(task.removeprefix("metaworld:"), *cells)
    table.add_section()
    means = []
    for n in asked:
        if any((task, seed, n) not in success for task in tasks for seed in seeds):
            means.append("-")
            continue
        scores = np.array([[success[task, seed, n].mean() for task in tasks] for seed in seeds])
        whole = estimate(mean, scores, rng=np.random.default_rng(0))
        means.append(_cell(whole.value, whole.low, whole.high) if len(seeds) > 1 else f"{scores.mean():.0%}")
    table.add_row("mean over tasks", *means)
    return table


def _taken(found: Sequence[Judged], asked: int) -> str:
    """The env steps that were taken, from the fewest to the most where tasks or seeds differ."""
    taken = {one.steps for one in found if one.asked == asked} or {asked}
    shown = f"{min(taken):,}" if len(taken) == 1 else f"{min(taken):,}-{max(taken):,}"
    return f"{shown} steps"


def _cell(share: Any, low: Any, high: Any) -> str:
    return f"{share:.0%} ({100 * low:.0f}-{100 * high:.0f})"
