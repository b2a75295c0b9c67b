"""``bench/seeds.py --device cuda``: S seeds of multi-task multi-head SAC (MT10) stacked on one GPU; eager, compiled, CUDA graph.

NOT RUN YET: written on a machine without a GPU. The algorithm's own ``update`` is called, without the learner around it: batches lie ready
on the device, drawing the noise is included. Every S and way is a fresh start of ``torch.compile``. bench/results/seeds_gpu.{md,json}.
"""

import argparse
import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from _machine import command_line, describe, write, write_json
from mt_sides import ADAM_EPS, BATCH, HIDDEN, MAX_GRAD_NORM
from sac_sides import ACTION, EPISODE, OBS

TASKS = 10
WARM_UP = 5
CHUNK = 10
"""updates between two looks at the clock"""


def prepared(S: int, device: torch.device) -> tuple[Any, Any, Any, Any, list[torch.Generator]]:
    """The algorithm, state, batch (S, K, B, ...), noise and its generators."""
    from algos.sac import Config, make
    from core.tree import map_tree
    from core.types import Batch, Field, TaskSpec

    spec = TaskSpec("bench", (Field("obs", (OBS,)),), ACTION, EPISODE)
    config = Config(hidden=HIDDEN, batch_size=BATCH, multi_head=True, max_grad_norm=MAX_GRAD_NORM, adam_eps=ADAM_EPS)
    algorithm = make(config, spec, TASKS)
    state = map_tree(lambda leaf: leaf.to(device), algorithm.init(range(S)))
    lead, made = (S, TASKS, BATCH), torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*lead, *shape, generator=made, device=device)

    batch = Batch(normal(OBS), normal(ACTION).tanh(), normal(), normal(OBS), torch.full(lead, 0.99, device=device))
    generators = [torch.Generator(device).manual_seed(seed) for seed in range(S)]
    return algorithm, state, batch, algorithm.noise(state, generators), generators


def ways(S: int, device: torch.device, way: str) -> Callable[[], object]:
    """One update of all S seeds, by one way: eager, compiled, graph of the compiled."""
    algorithm, state, batch, noise, generators = prepared(S, device)
    if way == "eager":
        return lambda: algorithm.update(state, batch, algorithm.noise(state, generators))
    torch._dynamo.reset()
    compiled = torch.compile(algorithm.update, fullgraph=True, dynamic=False)
    if way == "compiled":
        return lambda: compiled(state, batch, algorithm.noise(state, generators))
    return captured(lambda: compiled(state, batch, noise), noise, lambda: algorithm.noise(state, generators))


def captured(update: Callable[[], object], noise: Any, draw: Callable[[], Any]) -> Callable[[], object]:
    """The update as a CUDA graph that reads the noise from where it was at the capture."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            update()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        update()

    def call() -> None:
        for place, fresh in zip(noise, draw(), strict=True):
            place.copy_(fresh)
        graph.replay()

    return call


def rate(call: Callable[[], object], slice_s: float) -> float:
    """Updates per second."""
    torch.cuda.synchronize()
    began, calls = time.perf_counter(), 0
    while time.perf_counter() < began + slice_s:
        for _ in range(CHUNK):
            call()
        torch.cuda.synchronize()
        calls += CHUNK
    return calls / (time.perf_counter() - began)


def on_gpu(seeds: list[int], args: argparse.Namespace) -> None:
    device = torch.device("cuda")
    about = {**describe(), "command": command_line("seeds"), "gpu": torch.cuda.get_device_name()}
    about |= {"torch": torch.__version__, "precision": torch.get_float32_matmul_precision(), "rounds": args.rounds, "slice_s": args.slice_s}
    result: dict[str, Any] = {"about": about, "rows": []}
    for S in seeds:
        for way in ("eager", "compiled", "CUDA graph"):
            row: dict[str, Any] = {"seeds": S, "way": way, "rate": []}
            began = time.perf_counter()
            try:
                call = ways(S, device, way)
                for _ in range(WARM_UP):
                    call()
                torch.cuda.synchronize()
                row["start_s"] = time.perf_counter() - began
                row["rate"] = [S * rate(call, args.slice_s) for _ in range(args.rounds)]
            except Exception as error:  # noqa: BLE001 - what cannot be had is named in the results
                row["failed"] = f"{type(error).__name__}: {error}".splitlines()[0]
            result["rows"].append(row)
            about["load_after"] = os.getloadavg()[0]
            print(row, flush=True)
            write_json(args.out / "seeds_gpu.json", result)
            write(args.out / "seeds_gpu.md", page(result))


def page(result: dict[str, Any]) -> str:
    about = result["about"]
    first = {row["way"]: median(row["rate"]) for row in reversed(result["rows"]) if row["rate"]}
    lines = [
        "# Seeds stacked on one GPU",
        "",
        f"`{about['command']}`, {about['when']}. {about['gpu']}; {about['machine']}; torch {about['torch']}, float32 matmul precision",
        f"{about['precision']}; Python {about['python']}.",
        f"SAC with {TASKS} tasks and heads, {' x '.join(map(str, HIDDEN))}, batch {TASKS * BATCH} per seed, ready on the device; drawing",
        f"the noise is included. {about['rounds']} slices of {about['slice_s']} s, one way after the other.",
        "",
        "| seeds | way | seed-updates/s, median | lowest | x the fewest seeds of that way | start s |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        if not row["rate"]:
            lines.append(f"| {row['seeds']} | {row['way']} | FAILED: {row['failed']} | | | |")
            continue
        middle = median(row["rate"])
        figures = f"{middle:,.0f} | {min(row['rate']):,.0f} | {middle / first[row['way']]:.2f} | {row['start_s']:.1f}"
        lines.append(f"| {row['seeds']} | {row['way']} | {figures} |")
    return "\n".join([*lines, ""])
