"""Turns the figures of ``bench/replay.py`` into the Markdown page that the documentation quotes."""


def markdown(result: dict) -> str:
    about = result["about"]
    versions = ", ".join(f"{name} {v}" for name, v in about["versions"].items())
    lines = [
        "# Replay: draws and inserts against peers",
        "",
        f"`{about['command']}`, {about['when']}. {about['machine']}; Python {about['python']}; {versions}; {about['compiler']}.",
        f"One thread. {about['rows']:,} rows of {about['row_bytes']} bytes per buffer (39-D observation, 4-D action; RLlib: a fifth of the rows).",
        f"Medians over {about['rounds']} interleaved rounds of {about['slice_s']} s per library; ratios are medians of the ratios within a round.",
        f"Load of the machine (1 minute) {about['load_before']:.1f} before, {about['load_after']:.1f} after; this bench alone makes about 1.",
        "",
        "## Draw one batch",
        "",
        "The floor is a C loop with software prefetch that copies the same bytes from the same memory, its indices ready made. The manyhands figure",
        "holds everything: drawing the indices, rejecting closing rows, the gather, the bootstrap column, the check for rows overwritten meanwhile.",
        "Peers hold one buffer per task and concatenate; RLlib returns lists of episodes, which nobody concatenates here.",
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
        "manyhands validates every chunk and stores it once; its closing rows are stored but not counted. Episodes for RLlib are built within the time.",
        "",
    ]
    return "\n".join(lines)
