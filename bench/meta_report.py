"""Turns the figures of ``bench/meta_update.py`` into ratios, goals and a Markdown page."""

from typing import Any, NamedTuple

from _sides_page import OURS, body, figures, heading, judged, load, ratio, remarks, rounds, times
from meta_data import BARE, CHUNK, DELTA, ENTROPY, INNER_LR, MAX_GRAD_NORM, MINIBATCHES, PRODUCTS, STEP

PEER = "metaworld-algorithms"
TIMED = f"""
- **All**: advantages are given. The peer's linear baseline cannot be fitted to the buffers of its MAML and RL2: it takes the starts of
  episodes for their ends, and raises. So both sides begin where advantages are known. Left out on both sides, too: acting, reading the
  round, metrics after the update.
- **MAML-TRPO**: the outer step: gradient through the adaptation, {PRODUCTS} steps of conjugate gradient, length of the step, line
  search. Ours is `trust_region_step`, theirs `outer_step`. Both begin with the same weights and have the same data and step size
  ({INNER_LR}; theirs is multiplied by the tasks, because its inner loss is a mean over them), so that gain, KL and tries should agree.
- **RL2**: tanh encoder, GRU, linear output; a gradient step on each chunk of {CHUNK} steps of all trials, in the order of time; entropy
  weight {ENTROPY}, gradients clipped to {MAX_GRAD_NORM}. Ours is `update_one` with the trials given, theirs the loop of `update` over
  `_update_inner`. Theirs has no overlap of chunks here (its default is 50 steps that are trained twice), no activation of the output, and
  as many layers in the encoder as ours.
- **MT-PPO**: {MINIBATCHES} minibatches per epoch, gradients clipped to {MAX_GRAD_NORM}, ReLU. Ours is `descend`, theirs `_update_inner`,
  which also computes advantages from values, in one scan; both shuffle in each epoch.
- All policies are Gaussians, not squashed, with a standard deviation that does not depend on the observation.
"""
DIFFERENCES = """
- MAML-TRPO: the peer takes one product with the curvature more: conjugate gradient of JAX begins with the product of 0. Its Hessian is that
  of the KL by forward over reverse; ours is the Gauss-Newton matrix, which is the same at the old parameters, and for which no term is
  computed that is 0 there. Its inner loss is a log-probability, ours a likelihood ratio: equal gradients, other second derivatives.
- RL2: ours also goes through all trials once per update without gradients, for the log-probabilities of the actions, which the peer has
  from acting: a thirtieth of our time with ten epochs.
- RL2 and MT-PPO: the peer makes histograms of all parameters and gradients in every gradient step for its log. The row "without its log"
  is the same function of the peer with these results dropped, so that XLA does not compute them. The goals are judged by that row.
- MT-PPO: ours draws each task's share of each minibatch and is task-major; theirs shuffles all rows at once and reads the task as a
  one-hot.
"""


class Goal(NamedTuple):
    method: str
    at_least: float
    """peer's time / ours"""


GOALS = (Goal("maml", 1.5), Goal("rl2", 1.5), Goal("ppo", 1.0))


def summary(record: dict[str, Any]) -> dict[str, Any]:
    """Rows (side, mode, figures) and goals of one case."""
    ms = times(record)
    rows, goals = [], []
    for side, mode in ms:
        of_ours = ratio(ms[side, mode], ms[OURS, STEP]) if (OURS, STEP) in ms else None
        rows.append((side, mode, {**figures(record["sides"][side]["modes"][mode]), "of_ours": of_ours}))
    theirs = BARE if (PEER, BARE) in ms else STEP
    if {(PEER, theirs), (OURS, STEP)} <= set(ms):
        reached = ratio(ms[PEER, theirs], ms[OURS, STEP])
        goals = [judged(f"{PEER}, {theirs}", goal.at_least, reached) for goal in GOALS if goal.method == record["method"]]
    return {"rows": rows, "goals": goals}


def case_page(name: str, record: dict[str, Any]) -> list[str]:
    found = summary(record)
    epochs = "" if record["method"] == "maml" else f", {record['epochs']} epoch{'s' if record['epochs'] > 1 else ''}"
    layers = " x ".join(map(str, record["hidden"]))
    lines = [
        f"## {name}",
        "",
        f"{record['tasks']} tasks, {record['steps']} steps of each{epochs}; hidden layers {layers}; {rounds(record)} rounds.",
        "",
        "| | timed | ms, median | lowest round | x manyhands | CPU s per s | others' |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for side, mode, row in found["rows"]:
        shown = [f"{row['median_ms']:.0f}", f"{row['min_ms']:.0f}", "-" if row["of_ours"] is None else f"{row['of_ours']:.2f}"]
        lines.append(f"| {side} | {mode} | {' | '.join(shown)} | {row['cpu']:.2f} | {row['others']:.2f} |")
    notes = [f"{side}: {said['note']}" for side, said in record["sides"].items()]
    return [*lines, "", *remarks(record, found, notes), "", *counted(record["sides"]), ""]


def counted(sides: dict[str, Any]) -> list[str]:
    """The table of what one update was counted to be, and whether that is the same for both."""
    if not sides:
        return []
    kinds = {(said["work"]["parameters"], said["work"]["steps"], said["work"]["tries"]) for said in sides.values()}
    verdict = "the same parameters, steps and tries on all sides" if len(kinds) == 1 else "**NOT the same work on all sides**"
    lines = [
        f"What one update was counted to be: {verdict}.",
        "",
        "| | parameters | gradient steps | curvature products | tries of the line search | gain | KL |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for side, said in sides.items():
        w = said["work"]
        after = [f"{w[name]:.4f}" if name in w else "-" for name in ("gain", "kl")]
        lines.append(f"| {side} | {w['parameters']:,} | {w['steps']} | {w['products']} | {w['tries']} | {' | '.join(after)} |")
    return lines


def markdown(result: dict[str, Any]) -> str:
    about = result["about"]
    lines = [
        *heading("Updates on-policy and of meta-learning: manyhands against metaworld-algorithms", result, PEER),
        f"Made-up data of Meta-World's shapes, float32, the same for both. Largest KL {DELTA}. Every side is a process bound to the same",
        f"cores, with the threads of the case; up to {about['rounds']} rounds, in turns, of {about['slice_s']} s (at least one update) per",
        "mode. Ratios are medians of the ratios within a round; below 1.2 they are a tie on a shared machine. The last columns: CPU",
        "seconds per second of that process, and of all others on the machine together. PEARL is in `pearl_update.md`.",
        load(about),
        *body(TIMED, [case_page(*case) for case in result["cases"].items()], DIFFERENCES),
    ]
    return "\n".join(lines)
