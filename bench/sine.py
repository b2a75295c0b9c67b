"""Sine regression, where gradient-based meta-learning began: how well 10 points of a new sine wave are learned from, by training method.

Finn et al. 2017, section 5.1 (task, net, MAML), Nichol et al. 2018, section 4 (Reptile). y = a sin(x + p), a in [0.1, 5], p in [0, pi],
x in [-5, 5]; a ReLU net of 2 x 40. MAML and its controls (first-order; joint training without an inner loop) take one step of size 0.01 on
10 points, Reptile 5 steps of size 0.02 on 10 fresh points each, its eps falling from 1 to 0. All test on 10 points of 600 new waves.

    python bench/sine.py            writes bench/results/sine.json and sine.md
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, grad_and_value

from algos.lib.adam import adam, init_adam
from algos.lib.mlp import Params, init_mlp, mlp
from algos.lib.reptile import annealed, inner_loop, meta_step

SHOTS, TEST_POINTS, TEST_TASKS = 10, 100, 600
MAML_TASKS, MAML_ALPHA, OUTER_LR = 25, 0.01, 1e-3
REPTILE_TASKS, REPTILE_K, REPTILE_LR = 8, 5, 0.02
STEPS = (0, 1, 5, 8, 10, 32)
ITERATIONS = {"maml": 12_000, "first-order maml": 12_000, "joint": 8_000, "reptile": 12_000}
Points = tuple[Tensor, Tensor]
"""x and y, each (T, n, 1)"""


class Waves:
    """T sine waves."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.generator = generator
        self.amplitude = 0.1 + 4.9 * torch.rand(count, 1, 1, generator=generator)
        self.phase = torch.pi * torch.rand(count, 1, 1, generator=generator)

    def points(self, n: int) -> Points:
        x = 10 * torch.rand(len(self.phase), n, 1, generator=self.generator) - 5
        return x, self.amplitude * torch.sin(x + self.phase)


def errors(params: Params, points: Points) -> Tensor:
    """(T,) mean squared error of each task, whose own network is row T of the parameters."""
    return (mlp(params, points[0]) - points[1]).square().mean((1, 2))


def step(params: Params, points: Points, *, lr: float, first_order: bool = False) -> Params:
    """One gradient step of every task on its own points."""
    slopes = grad(lambda p: errors(p, points).sum())(params)
    return {name: p - lr * (slopes[name].detach() if first_order else slopes[name]) for name, p in params.items()}


def each(theta: Params, tasks: int) -> Params:
    return {name: p.expand(tasks, *p.shape) for name, p in theta.items()}


def train(method: str, seed: int, iterations: int) -> Params:
    """The parameters that a method has after so many iterations."""
    g = torch.Generator().manual_seed(seed)
    theta = init_mlp((1, 40, 40, 1), g)
    if method == "reptile":
        for i in range(iterations):
            waves = Waves(REPTILE_TASKS, g)
            batches = (waves.points(SHOTS) for _ in range(REPTILE_K))
            phi = inner_loop(each(theta, REPTILE_TASKS), partial(step, lr=REPTILE_LR), batches)
            theta = meta_step(theta, phi, annealed(torch.tensor(float(i)), 1.0, iterations), tasks=True)
        return theta
    moments = init_adam(theta)
    for i in range(iterations):
        waves = Waves(MAML_TASKS, g)
        slopes, _ = grad_and_value(outer_loss(method))(theta, waves.points(SHOTS), waves.points(SHOTS))
        theta, moments = adam(theta, slopes, moments, torch.tensor(i + 1.0), lr=OUTER_LR)
    return theta


def outer_loss(method: str) -> Callable[[Params, Points, Points], Tensor]:
    def loss(theta: Params, support: Points, query: Points) -> Tensor:
        phi = each(theta, MAML_TASKS)
        if method != "joint":
            phi = step(phi, support, lr=MAML_ALPHA, first_order=method == "first-order maml")
        return errors(phi, query).mean()

    return loss


def test(theta: Params, lr: float, steps: Sequence[int] = STEPS, seed: int = 1_000_000) -> dict[int, float]:
    """Steps of gradient descent on 10 points -> mean squared error on others, mean over waves that no training had."""
    waves = Waves(TEST_TASKS, torch.Generator().manual_seed(seed))
    support, query = waves.points(SHOTS), waves.points(TEST_POINTS)
    phi, found = each(theta, TEST_TASKS), {}
    for taken in range(max(steps) + 1):
        if taken in steps:
            found[taken] = errors(phi, query).mean().item()
        phi = step(phi, support, lr=lr)
    return found


def run(method: str, seed: int, iterations: int = 0) -> dict[int, float]:
    """Trains by a method and tests."""
    theta = train(method, seed, iterations or ITERATIONS[method])
    return test(theta, REPTILE_LR if method == "reptile" else MAML_ALPHA)


def main(seeds: Sequence[int] = (0, 1, 2)) -> None:
    torch.set_num_threads(1)
    results = {method: {seed: run(method, seed) for seed in seeds} for method in ITERATIONS}
    folder = Path(__file__).parent / "results"
    told = {"iterations": ITERATIONS, "seeds": list(seeds), "mse": results}
    (folder / "sine.json").write_text(json.dumps(told, indent=1) + "\n")
    lines = ["# Sine regression", "", *(__doc__ or "").splitlines()[2:6], ""]
    lines += [f"Mean squared error after so many gradient steps, mean and standard deviation over {len(seeds)} seeds.", ""]
    lines += ["| method | iterations | " + " | ".join(map(str, STEPS)) + " |", "|---" * (len(STEPS) + 2) + "|"]
    for method, by_seed in results.items():
        table = np.array([[found[n] for n in STEPS] for found in by_seed.values()])
        cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(table.mean(0), table.std(0, ddof=1), strict=True)]
        lines.append(f"| {method} | {ITERATIONS[method]:,} | " + " | ".join(cells) + " |")
    (folder / "sine.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
