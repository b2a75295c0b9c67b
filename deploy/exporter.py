"""The newest metrics of every run in Prometheus' text format, as a file for node-exporter or by HTTP; read from ``metrics.jsonl``.

``python -m deploy.exporter --runs /runs --out /var/lib/node_exporter/manyhands.prom`` writes the file every 15 s; ``--listen
127.0.0.1:9808`` answers at ``/metrics`` instead. ``actor/steps_per_s`` is ``manyhands_actor_steps_per_s{run="..."}``; what belongs to one
of several tasks has a label ``task``, what has an entry per seed a label ``index``.
"""

import argparse
import json
import os
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

EVERY_S = 15.0
TAIL_BYTES = 2**18
"""of a file, from its end, in which rows are looked for"""
RECENT_S = 24 * 3600.0
"""runs whose last row is older are left out: they have ended long ago"""


def main(words: Sequence[str] | None = None) -> int:
    """Runs until it is ended, with ``--once`` not at all."""
    parser = argparse.ArgumentParser(prog="python -m deploy.exporter", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs, or of several such folders")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, help="file to write, ending with .prom")
    where.add_argument("--listen", metavar="HOST:PORT", help="to answer at; 127.0.0.1:9808 is for this machine only")
    parser.add_argument("--once", action="store_true", help="write the file once")
    told = parser.parse_args(words)
    if told.listen:
        _serve(told.runs, told.listen)
    while told.out:
        write(told.out, exposition(told.runs, time.time()))
        if told.once:
            break
        time.sleep(EVERY_S)
    return 0


def exposition(runs: Path, now: float) -> str:
    """The text: names in order, each with its type once, as the format asks.

    Args:
        now: unix seconds.
    """
    samples: dict[str, list[str]] = defaultdict(list)
    for folder in sorted({path.parent for pattern in ("*/metrics.jsonl", "*/*/metrics.jsonl") for path in runs.glob(pattern)}):
        row = newest(folder / "metrics.jsonl")
        if not row or now - row.get("time", 0) > RECENT_S:
            continue
        for name, labels, value in of_row(row):
            samples[name].append(f"{name}{{{_labels({'run': folder.name, **labels})}}} {value!r}")
    return "".join(f"# TYPE {name} gauge\n" + "\n".join(lines) + "\n" for name, lines in sorted(samples.items()))


def newest(path: Path) -> dict[str, Any]:
    """For each metric its last value: rows of training and of evaluations have different ones. A last line that is torn is left out."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        lines = file.read().split(b"\n")[:-1]
    merged: dict[str, Any] = {}
    for line in lines if size <= TAIL_BYTES else lines[1:]:
        try:
            merged |= json.loads(line)
        except ValueError:
            continue
    return merged


def of_row(row: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str], float]]:
    """(name, labels, value) of each number; what is not finite in the row is null there, and absent here."""
    for key, value in row.items():
        parts = key.split("/")
        name, labels = "manyhands_" + re.sub(r"\W+", "_", f"{parts[0]}_{parts[-1]}" if len(parts) > 2 else key.replace("/", "_")), {}
        if len(parts) > 2:
            name, labels = name.replace("manyhands_", "manyhands_task_", 1), {"task": "/".join(parts[1:-1])}
        values = value if isinstance(value, list) else [value]
        for at, number in enumerate(values):
            if isinstance(number, int | float) and not isinstance(number, bool):
                yield name, labels | ({"index": str(at)} if isinstance(value, list) else {}), float(number)


def write(out: Path, text: str) -> None:
    """At once: who reads it never sees a half."""
    fresh = out.with_name(f".{out.name}.tmp")
    fresh.write_text(text)
    fresh.replace(out)


def _labels(labels: Mapping[str, str]) -> str:
    escaped = {name: value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for name, value in labels.items()}
    return ",".join(f'{name}="{value}"' for name, value in escaped.items())


def _serve(runs: Path, listen: str) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/metrics"
            body = exposition(runs, time.time()).encode() if found else b"see /metrics\n"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing of every question."""

    host, _, port = listen.rpartition(":")
    ThreadingHTTPServer((host or "127.0.0.1", int(port)), Answer).serve_forever()


if __name__ == "__main__":
    sys.exit(main())
