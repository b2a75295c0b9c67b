"""Turns the figures of ``bench/pearl_update.py`` into ratios, goals and a Markdown page."""

from typing import Any

from _sides_page import OURS, body, figures, heading, judged, load, ratio, remarks, rounds, times
from pearl_sides import DRAWN, EAGER, GAMMA, KL_WEIGHT, LOSSES, LR, MEDIUM, NETWORKS, PEER, READY, RECENT, REWARD_SCALE, TAU

AT_LEAST = 1.5
"""the goal: the peer's time / ours, both with a ready batch"""
ALIKE = 0.01
"""largest relative difference of losses that count as the same: a CPU with bfloat16 rounds in the peer's ``medium``"""
SETTINGS = f"""
The variant with a value network, as published: one update is one gradient step of the encoder (through both critics and the KL
divergence), of both critics, of the value and of the policy, and one move of the target value. 39-D observation, 4-D action; context of
observation, action and reward from the newest {RECENT:,} transitions of a task; Adam ({LR}), gamma {GAMMA}, tau {TAU}, reward scale
{REWARD_SCALE:g}, weight {KL_WEIGHT} of the KL divergence's sum over tasks, fixed temperature, no clipping of gradients.
"""
TIMED = f"""
- **{READY}**, by which the goal is judged: from one batch and context in memory, float32, to the moved
  networks, random numbers included. {OURS}: `LearnerWorker.update(1)` of a run without the draw; taking the batch apart, which lies as it
  was gathered from the ring, is timed. {PEER}: `_do_training`, which its training loop calls once per update, with `sample_sac` and
  `sample_context` answering with tensors that are ready: neither its replay nor the conversion from NumPy is timed.
- **{DRAWN}**: the same with drawing batch and context. {OURS}: from a full ring in shared memory, float32. {PEER}: from
  its own replay buffers, float64 NumPy, task by task, converted to float32 tensors. Both hold the same transitions.
- **{OURS}** is what a run does: one compiled graph. **{EAGER}** is `--learner.compile eager`. Both choose the matmul path as a
  run does.
- **{PEER}** is as shipped, with the torch of {OURS}; **{MEDIUM}** has the line `torch.set_float32_matmul_precision("medium")`
  more, which opens the path of float32 matmul that ours takes where it is faster.
- Left out on all sides: acting, collecting, evaluation, publishing weights, start, compilation, warm-up.
"""
DIFFERENCES = f"""
- {PEER} is of 2019 and torch 1.0.1. It runs here unmodified with gymnasium's spaces for gym's, empty modules in place of its timer and its
  log, and the checks of distributions' arguments off, which torch has turned on since (they only cost time).
- {PEER} infers the posterior task by task in Python loops, draws z three times per update, and goes backwards through the encoder twice;
  its policy's loss also goes backwards into the weights of the critics, where it is not used. {OURS} computes the posterior twice, once as
  a constant. Hence the operations.
- {PEER} has five optimizers of torch, and two Q networks one after the other; {OURS} has both as one stacked product.
- {OURS} computes nine metrics in each update and reads them, which is timed; {PEER} makes its statistics once per evaluation: not timed.
- {PEER} samples tasks with replacement, {OURS} without; here both take all of them.
- The tanh correction of log-probabilities has an epsilon of 1e-6 in {PEER} and is exact in {OURS}: the losses differ in the fifth digit.
"""


def summary(record: dict[str, Any]) -> dict[str, Any]:
    """Rows (side, mode, figures) and goals of one case."""
    taken, rows = times(record), []
    for (side, mode), ms in taken.items():
        row = figures(record["sides"][side]["modes"][mode])
        row["of"] = {mine: ratio(ms, taken[mine, mode]) for mine in (OURS, EAGER) if (mine, mode) in taken}
        rows.append((side, mode, row))
    peers = [peer for peer in (PEER, MEDIUM) if {(peer, READY), (OURS, READY)} <= set(taken)]
    goals = [judged(f"{peer}, {READY}", AT_LEAST, ratio(taken[peer, READY], taken[OURS, READY])) for peer in peers]
    return {"rows": rows, "goals": goals}


def case_page(name: str, record: dict[str, Any]) -> list[str]:
    found, layers = summary(record), {kind: " x ".join(map(str, record[kind])) for kind in ("hidden", "encoder")}
    lines = [
        f"## {name}",
        "",
        f"{record['tasks']} tasks, {record['batch']} transitions of each, context {record['context']}, latent {record['latent']};",
        f"hidden layers {layers['hidden']}, of the encoder {layers['encoder']}; {rounds(record)} rounds.",
        "",
        f"| | batch | ms/update, median | lowest round | updates/s | x {OURS} | x {EAGER} | CPU s per s | others' |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for side, mode, row in found["rows"]:
        ratios = [f"{row['of'][mine]:.2f}" if mine in row["of"] else "-" for mine in (OURS, EAGER)]
        cells = [f"{row['median_ms']:.2f}", f"{row['min_ms']:.2f}", f"{1e3 / row['median_ms']:,.2f}", *ratios]
        cells += [f"{row['cpu']:.2f}", f"{row['others']:.2f}"]
        lines.append(f"| {side} | {mode} | " + " | ".join(cells) + " |")
    notes = [f"{side}: {said['note']}" for side, said in record["sides"].items()]
    return [*lines, "", *remarks(record, found, notes), "", *counted(record["sides"]), ""]


def equal(works: list[dict[str, Any]]) -> bool:
    """The same parameters and steps of every network, and the same losses."""
    first = works[0]
    near = [abs(w["losses"][name] - value) <= ALIKE * abs(value) for w in works for name, value in first["losses"].items()]
    return all(near) and all((w["parameters"], w["steps"]) == (first["parameters"], first["steps"]) for w in works)


def counted(sides: dict[str, Any]) -> list[str]:
    """The table of what one update was counted to be, and whether that is the same for all."""
    if not sides:
        return []
    same = equal([said["work"] for said in sides.values()])
    verdict = "the same parameters, steps and losses on all sides" if same else "**NOT the same work on all sides**"
    lines = [
        f"What one update was counted to be: {verdict}. All begin with the same",
        "weights; losses are those of a second update on the same batch and noise. GFLOP: matrix multiplications, ours of the eager twin.",
        "",
        f"| | parameters: {', '.join(NETWORKS)} | steps of the same | GFLOP | losses: {', '.join(LOSSES)} |",
        "|---|---|---|---:|---|",
    ]
    for side, said in sides.items():
        w = said["work"]
        sizes, steps = ("; ".join(f"{w[kind][name]:,}" for name in NETWORKS) for kind in ("parameters", "steps"))
        losses = "; ".join(f"{w['losses'][name]:.4f}" for name in LOSSES)
        lines.append(f"| {side} | {sizes} | {steps} | {w['gflop']:.2f} | {losses} |")
    return lines


def markdown(result: dict[str, Any]) -> str:
    about = result["about"]
    lines = [
        *heading("One PEARL update: manyhands against the code of PEARL's authors", result, PEER),
        *SETTINGS.strip().splitlines(),
        f"The same {about['rows']:,} made-up transitions for all. Every side is a process bound to the same cores, with the threads of",
        f"the case; up to {about['rounds']} rounds, in turns, of {about['slice_s']} s (at least 2 updates) per mode. Ratios are medians of",
        "the ratios within a round; below 1.2 they are a tie on a shared machine. The last columns: CPU seconds per second of that",
        "process, and of all others on the machine together.",
        load(about),
        *body(TIMED, [case_page(*case) for case in result["cases"].items()], DIFFERENCES),
    ]
    return "\n".join(lines)
