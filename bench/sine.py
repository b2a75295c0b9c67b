"""Sine regression, where gradient-based meta-learning began: how well 10 points of a new sine wave are learned from, by training method.

Finn et al. 2017, section 5.1 (task, net, MAML), Nichol et al. 2018, section 4 (Reptile). y = a sin(x + p), a in [0.1, 5], p in [0, pi],
x in [-5, 5]. MAML and its controls (first-order; joint training without an inner loop) have a ReLU net of 2 x 40 and take one step of size
0.01 on 10 points, of 25 waves at once. Reptile has a tanh net of 2 x 64 and takes 5 steps of size 0.02 on 10 fresh points each, of 8 waves
at once, its eps falling from 1 to 0. All test on 10 points of 600 new waves, with steps of the size that they were trained with.

    python bench/sine.py            writes bench/results/sine.json and sine.md
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import numpy as np
import torch
from torch import Tensor
from torch.func import grad

from algos.lib.adam import AdamState, adam, init_adam
from algos.lib.mlp import Activation, Params, init_mlp, mlp
from algos.lib.reptile import annealed, inner_loop, meta_step
from bench._machine import RESULTS, command_line, write, write_json
from learner.step import compiler_available

SHOTS, TEST_POINTS, TEST_TASKS = 10, 100, 600
MAML_TASKS, MAML_ALPHA, OUTER_LR = 25, 0.01, 1e-3
REPTILE_TASKS, REPTILE_K, REPTILE_LR = 8, 5, 0.02
STEPS = (0, 1, 5, 8, 10, 32)
ITERATIONS = {"maml": 18_000, "first-order maml": 18_000, "joint": 18_000, "reptile": 40_000}
Points = tuple[Tensor, Tensor]
"""x and y, each (T, n, 1)"""


class Net(NamedTuple):
    """What a method trains, and how it is adapted."""

    hidden: int
    activation: Activation
    lr: float

    def errors(self, params: Params, points: Points) -> Tensor:
        """(T,) mean squared error of each task, whose own network is row T of the parameters."""
        return (mlp(params, points[0], self.activation) - points[1]).square().mean((1, 2))

    def step(self, params: Params, points: Points, *, first_order: bool = False) -> Params:
        """One gradient step of every task on its own points."""
        slopes = grad(lambda p: self.errors(p, points).sum())(params)
        return {name: p - self.lr * (slopes[name].detach() if first_order else slopes[name]) for name, p in params.items()}


MAML_NET, REPTILE_NET = Net(40, "relu", MAML_ALPHA), Net(64, "tanh", REPTILE_LR)


def net_of(method: str) -> Net:
    return REPTILE_NET if method == "reptile" else MAML_NET


class Waves:
    """T sine waves."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.generator = generator
        self.amplitude = 0.1 + 4.9 * torch.rand(count, 1, 1, generator=generator)
        self.phase = torch.pi * torch.rand(count, 1, 1, generator=generator)

    def points(self, n: int) -> Points:
        x = 10 * torch.rand(len(self.phase), n, 1, generator=self.generator) - 5
        return x, self.amplitude * torch.sin(x + self.phase)


def each(theta: Params, tasks: int) -> Params:
    return {name: p.expand(tasks, *p.shape) for name, p in theta.items()}


def reptile_update(theta: Params, points: Points, eps: Tensor) -> Params:
    """One meta-iteration: the points are cut into the batches of the k steps."""
    batches = zip(*(part.split(SHOTS, 1) for part in points), strict=True)
    phi = inner_loop(each(theta, REPTILE_TASKS), REPTILE_NET.step, batches)
    return meta_step(theta, phi, eps, tasks=True)


def maml_update(
    theta: Params, moments: AdamState, support: Points, query: Points, count: Tensor, *, method: str
) -> tuple[Params, AdamState]:
    """One meta-iteration; of joint training the same without the step on the support."""

    def loss(theta: Params) -> Tensor:
        phi = each(theta, MAML_TASKS)
        if method != "joint":
            phi = MAML_NET.step(phi, support, first_order=method == "first-order maml")
        return MAML_NET.errors(phi, query).mean()

    return adam(theta, grad(loss)(theta), moments, count, lr=OUTER_LR)


@cache
def update_of(method: str) -> Callable[..., Any]:
    """A meta-iteration as one graph, compiled at the first call: its operations are so small that to call them costs ten times the sums."""
    update = reptile_update if method == "reptile" else partial(maml_update, method=method)
    return torch.compile(update, fullgraph=True, dynamic=False) if compiler_available() else update


def train(method: str, seed: int, iterations: int) -> Params:
    """The parameters that a method has after so many iterations."""
    g = torch.Generator().manual_seed(seed)
    hidden, update = net_of(method).hidden, update_of(method)
    theta = init_mlp((1, hidden, hidden, 1), g)
    moments = init_adam(theta)
    for i in range(iterations):
        done = torch.tensor(float(i))
        if method == "reptile":
            theta = update(theta, Waves(REPTILE_TASKS, g).points(SHOTS * REPTILE_K), annealed(done, 1.0, iterations))
        else:
            waves = Waves(MAML_TASKS, g)
            theta, moments = update(theta, moments, waves.points(SHOTS), waves.points(SHOTS), done + 1)
    return theta


def test(theta: Params, net: Net, steps: Sequence[int] = STEPS, seed: int = 1_000_000) -> dict[int, float]:
    """Steps of gradient descent on 10 points -> mean squared error on others, mean over waves that no training had."""
    waves = Waves(TEST_TASKS, torch.Generator().manual_seed(seed))
    support, query = waves.points(SHOTS), waves.points(TEST_POINTS)
    phi, found = each(theta, TEST_TASKS), {}
    for taken in range(max(steps) + 1):
        if taken in steps:
            found[taken] = net.errors(phi, query).mean().item()
        phi = net.step(phi, support)
    return found


def run(method: str, seed: int, iterations: int = 0) -> dict[int, float]:
    """Trains by a method and tests."""
    return test(train(method, seed, iterations or ITERATIONS[method]), net_of(method))


def report(told: dict[str, Any], mse: dict[str, dict[int, dict[int, float]]], seconds: dict[str, list[float]]) -> str:
    """Mean and standard deviation over seeds, a row for each method."""
    versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    lines = ["# Sine regression", "", f"`{told['command']}`, {told['machine']}, load {told['load']:.1f} at the end; {versions}.", ""]
    lines += [*(__doc__ or "").splitlines()[2:6], ""]
    lines += [
        f"Mean squared error on {TEST_POINTS} other points of a wave after so many gradient steps on {SHOTS}, mean and standard deviation"
    ]
    seeds = f"over {len(told['seeds'])} seeds"
    lines += [f"{seeds}; CPU seconds of the process, training and test, the first seed's with tracing or loading the graph.", ""]
    lines += [
        "| method | iterations | " + " | ".join(map(str, STEPS)) + " | CPU s of each seed |",
        "|---" + "|---:" * (len(STEPS) + 2) + "|",
    ]
    for method, by_seed in mse.items():
        rows = np.array([[found[n] for n in STEPS] for found in by_seed.values()])
        cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(rows.mean(0), rows.std(0, ddof=1), strict=True)]
        took = ", ".join(f"{s:.0f}" for s in seconds[method])
        lines.append(f"| {method} | {ITERATIONS[method]:,} | " + " | ".join(cells) + f" | {took} |")
    return "\n".join(lines) + "\n"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many, at least 2")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args()
    if args.seeds < 2:
        parser.error("--seeds must be at least 2: the table shows a standard deviation")
    return args


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    seeds = list(range(args.seeds))
    mse: dict[str, dict[int, dict[int, float]]] = {method: {} for method in ITERATIONS}
    seconds: dict[str, list[float]] = {method: [] for method in ITERATIONS}
    for method, seed in product(ITERATIONS, seeds):
        begin = time.process_time()
        mse[method][seed] = run(method, seed)
        seconds[method].append(time.process_time() - begin)
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    told = {"command": command_line("sine"), "machine": f"{os.cpu_count()} cores, one thread", "versions": versions}
    told |= {"load": os.getloadavg()[0], "iterations": ITERATIONS, "seeds": seeds}
    write_json(args.out / "sine.json", {**told, "mse": mse, "cpu_seconds": seconds})
    text = report(told, mse, seconds)
    write(args.out / "sine.md", text)
    print(text)


if __name__ == "__main__":
    main()
