"""Turns the figures of ``bench/c2farm_update.py`` into ratios, goals and a Markdown page."""

from typing import Any

from _sides_page import OURS, body, figures, heading, judged, load, ratio, remarks, rounds, times
from c2farm_scene import BINS, CROP, LOW_DIM, PIXELS, REACH, VOXELS
from c2farm_sides import ACT, IMAGES, PEER, SHORT, STORED, TUNED

AT_LEAST = {(OURS, STORED): 4.6, (SHORT, STORED): 7.0, (OURS, ACT): 3.0}
"""goals for a batch of 128: the peer's time as shipped / ours"""
JUDGED = 128
ALIKE, ALIKE_SHORT = 1e-3, 3e-2
"""largest relative differences of losses, mean Q and step that count as the same, in float32 and with a body in bfloat16"""
SETTINGS = f"""
One update is one gradient step of both depths, each with its own network and target, as the peer ships it: grids of {VOXELS} voxels
per axis, 64 channels, {BINS} bins per angle, proprioception of {LOW_DIM} numbers, one camera of {PIXELS} x {PIXELS}, second grid
{REACH} m to every side, Adam (5e-4, weight decay 1e-6), gradients clipped at 0.01, tau 0.0025, double Q-learning, both regularisers 1.0.
Two rows in five are terminal.
"""
TIMED = f"""
- **{STORED}**: what a run of {OURS} does. Replay keeps sparse grids, made once by the actor; the update spreads them out.
- **{IMAGES}**: {OURS} makes the clouds and grids of both depths and states anew from depth and colour; {PEER} from tensors of points and
  colours that are ready on its device, as its preprocessing leaves them. Crops of {CROP} x {CROP} pixels at the second depth on all sides.
- **{ACT}**: from points and colours of one camera to place, rotation and gripper, both depths, always float32; {OURS} looks at all
  points at the second depth.
- **{OURS}** goes through the batch in parts. **{SHORT}** computes all but the valuing layers in bfloat16 from float32 weights:
  *not the same function*, and what that does to learning is not measured here. Both run with glibc's allocator told to keep memory.
- **{PEER}** is as shipped; **{TUNED}** has the same three environment variables as ours. The fairer comparison of the rewriting itself.
- Left out on all sides: drawing from replay, acting while training, metrics for logs, start, warm-up.
"""
DIFFERENCES = f"""
- {PEER} runs unmodified; renderers, torchvision, YARR and RLBench are empty stubs, which neither update nor action calls.
- {PEER} values the next state of terminal rows and multiplies by 0; {OURS} leaves them out. {PEER} voxelises a state three times per depth,
  copies the whole input for every border, and computes at the first depth the features of heads that are not there.
- Targets are not bounded above, as in {PEER} (`parity`). Without it {OURS} clamps them to [0, 1], at no cost.
- Means within a voxel are summed in float64 by {OURS}, in float32 by {PEER}.
- Memory is the largest of the process so far, with libraries (about 0.4 GiB) and the batch: images in both, as tensors in {PEER}.
"""


def summary(record: dict[str, Any]) -> dict[str, Any]:
    """Rows (side, mode, figures) and goals of one case."""
    taken, rows = times(record), []
    for (side, mode), ms in taken.items():
        row = figures(record["sides"][side]["modes"][mode])
        theirs = ACT if mode == ACT else IMAGES
        row["of"] = {peer: ratio(taken[peer, theirs], ms) for peer in (PEER, TUNED) if (peer, theirs) in taken}
        rows.append((side, mode, row))
    found = {(side, mode): row["of"] for side, mode, row in rows if PEER in row["of"]}
    wanted = AT_LEAST if record["batch"] == JUDGED else {}
    goals = [judged(f"{PEER}, {' '.join(key)}", least, found[key][PEER]) for key, least in wanted.items() if key in found]
    return {"rows": rows, "goals": goals}


def case_page(name: str, record: dict[str, Any]) -> list[str]:
    found = summary(record)
    lines = [
        f"## {name}",
        "",
        f"{record['batch']} rows, ours {record['at_once']} at once; {rounds(record)} rounds.",
        "",
        f"| | | ms/call, median | lowest round | times as fast as {PEER} | as {TUNED} | GiB | CPU s per s | others' |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for side, mode, row in found["rows"]:
        ratios = [f"{row['of'][peer]:.2f}" if peer in row["of"] else "-" for peer in (PEER, TUNED)]
        cells = [f"{row['median_ms']:,.1f}", f"{row['min_ms']:,.1f}", *ratios, f"{record['sides'][side]['rss_gib']:.2f}"]
        lines.append(f"| {side} | {mode} | " + " | ".join([*cells, f"{row['cpu']:.2f}", f"{row['others']:.2f}"]) + " |")
    notes = [f"{side}: {said['note']}" for side, said in record["sides"].items()]
    return [*lines, "", *remarks(record, found, notes, first_calls=True), "", *compared(record["sides"]), ""]


def difference(first: dict[str, Any], other: dict[str, Any]) -> float:
    """Largest relative difference of what two first updates came to."""
    pairs = [(a, b) for kind, values in first.items() for a, b in zip(values, other[kind], strict=True)]
    return max(abs(a - b) / max(abs(a), 1e-9) for a, b in pairs)


def same(sides: dict[str, Any]) -> bool:
    """Whether all sides have the same networks, first updates and actions."""
    (name, one), *others = sides.items()
    near = [difference(one["first"], said["first"]) <= (ALIKE_SHORT if SHORT in (name, other) else ALIKE) for other, said in others]
    exact = [(said["parameters"], said["acted"][:1]) == (one["parameters"], one["acted"][:1]) for _, said in others]
    return all(near) and all(exact)


def compared(sides: dict[str, Any]) -> list[str]:
    """The table of what first updates came to, and whether that is the same for all."""
    if not sides:
        return []
    verdict = "the same on all sides" if same(sides) else "**NOT the same on all sides**"
    lines = [
        f"What the first update came to, from the same weights on the same batch, by depth: {verdict} (relative {ALIKE:g}; bfloat16",
        f"{ALIKE_SHORT:g}; voxels that were chosen to act: at the first depth).",
        "",
        "| | parameters | loss | mean Q | norm of the step | chosen voxels |",
        "|---|---|---|---|---|---|",
    ]
    for side, said in sides.items():
        cells = ["; ".join(f"{n:,}" for n in said["parameters"])]
        cells += ["; ".join(f"{x:.6f}" for x in said["first"][kind]) for kind in ("loss", "q_mean", "moved")]
        lines.append(f"| {side} | " + " | ".join([*cells, "; ".join(map(str, said["acted"]))]) + " |")
    return lines


def markdown(result: dict[str, Any]) -> str:
    about = result["about"]
    lines = [
        *heading("One C2F-ARM update and action: manyhands against the code of its authors", result, PEER),
        *SETTINGS.strip().splitlines(),
        f"Computed on {about['device']}; made-up scenes, boxes on a table, the same for all. Every side is a process bound to the same",
        f"cores, with the threads of the case; up to {about['rounds']} rounds, in turns, of {about['slice_s']} s (at least 1 update,",
        "3 actions) per mode. Ratios are medians of the ratios within a round. The last columns: CPU seconds per second of that process,",
        "and of all others on the machine together.",
        load(about),
        *body(TIMED, [case_page(*case) for case in result["cases"].items()], DIFFERENCES),
    ]
    return "\n".join(lines)
