"""Turns the figures of ``bench/replay.py`` into the Markdown page that the documentation quotes."""


def markdown(result: dict) -> str:
    about = result["about"]
    versions = ", ".join(f"{name} {v}" for name, v in about["versions"].items())
    lines = [
        "# Replay: draws and inserts against peers",
        "",
        f"`{about['command']}`, {about['when']}. {about['machine']}; Python {about['python']}; {versions}; {about['compiler']}.",
        f"One thread. {about['rows']:,} rows of {about['row_bytes']} bytes per library (39-D observation, 4-D action; RLlib: a fifth).",
        f"Medians over {about['rounds']} interleaved rounds of {about['slice_s']} s per library; ratios: medians over rounds.",
        f"Load (1 minute) {about['load_before']:.1f} before, {about['load_after']:.1f} after; this bench alone makes about 1.",
        "",
        "## Draw one batch",
        "",
        "The floor is a C loop with software prefetch that copies the same bytes from the same memory, its indices ready made. manyhands",
        "includes everything: drawing indices, rejecting closing rows (2% here: chunks of 50), the gather, the bootstrap, the check for",
        "rows overwritten meanwhile. Peers hold one buffer per task and concatenate; RLlib's lists of episodes are not concatenated.",
        "",
    ]
    for case, rows in result["draws"].items():
        lines += [f"### {case}", "", "| | us per batch | fastest round | times the floor | times manyhands |", "|---|---:|---:|---:|---:|"]
        for name, r in rows.items():
            figures = f"{r['median_us']:,.1f} | {r['fastest_round_us']:,.1f} | {r['of_floor']:,.2f} | {r['of_manyhands']:,.2f}"
            lines.append(f"| {name} | {figures} |")
        lines.append("")
    sizes = list(result["inserts"])
    lines += [
        "## Insert, transitions per second",
        "",
        "| | " + " | ".join(f"chunks of {s}" for s in sizes) + " |",
        "|---|" + "---:|" * len(sizes),
    ]
    for name in result["inserts"][sizes[0]]:
        lines.append(f"| {name} | " + " | ".join(f"{result['inserts'][s][name]:,.0f}" for s in sizes) + " |")
    lines += [
        "",
        "manyhands checks every chunk and stores it once; closing rows are stored but not counted. SB3 takes single steps only.",
        "",
    ]
    return "\n".join(lines)
