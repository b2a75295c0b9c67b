"""What algorithms share that learn from a round: its steps task by task, the ratio and its clipped surrogate, epochs of minibatches.

Shapes: K tasks, G episodes of each (all simulators'), T steps of each at most, M = G T, B steps of each task in a minibatch.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import grad

from algos.lib.adam import AdamState, adam, clip_norm
from algos.lib.advantages import group_mean
from algos.lib.policies import Distribution, Head
from core.tree import map_tree
from core.types import Round

LARGEST_LOG_RATIO = 20.0
"""nats; an action that became likelier than that is a runaway, and infinity times no advantage would be no number"""


class Minibatch(NamedTuple):
    """Random steps, as many of every task as it has to give: where they are, and what each counts."""

    chosen: Tensor
    """(K, B) int64, into a task's M steps"""
    weight: Tensor
    """(K, B) sums to 1 over B; 0 where a task has fewer steps than another"""

    def of(self, x: Tensor) -> Tensor:
        """(K, M, ...) -> (K, B, ...)"""
        return x[torch.arange(len(x), device=x.device)[:, None], self.chosen]

    def mean(self, x: Tensor) -> Tensor:
        """(K, B) -> (), every task counting the same."""
        return (x * self.weight).sum(-1).mean()


class Samples(NamedTuple):
    """All steps of a round of one seed, and what is known of them before the policy moves."""

    inputs: Tensor
    """(K, M, in) what the policy saw"""
    action: Tensor
    """(K, M, A)"""
    advantage: Tensor
    """(K, M)"""
    log_prob: Tensor
    """(K, M) of the action when it was taken"""
    valid: Tensor
    """(K, M)"""


def task_major(data: Round) -> Round:
    """The only phase of a round of one seed, (1, K, N, E, T, ...) -> (K, G, T, ...); zeros behind the ends, whatever lay there."""
    return taken_only(map_tree(lambda x: x[0].flatten(1, 2), data))


def taken_only(data: Round) -> Round:
    """With zeros behind the ends, whatever lay there."""
    taken = data.valid > 0
    return map_tree(lambda x: torch.where(taken.reshape(*taken.shape, *[1] * (x.dim() - taken.dim())), x, 0.0), data)


def minibatches(valid: Tensor, count: int, generator: torch.Generator) -> list[Minibatch]:
    """Each valid step of (K, M) in exactly one of ``count``, a task's spread evenly over them. The generator is one of the CPU."""
    keys = torch.rand(valid.shape, generator=generator).to(valid.device)
    shuffled = torch.where(valid > 0, keys, 2.0).argsort(dim=1, stable=True)  # a task's valid steps come first
    sizes = (valid > 0).sum(1)
    edges = sizes * torch.arange(count + 1, device=valid.device)[:, None] // count  # (count + 1, K)
    counts = edges[1:] - edges[:-1]
    slots = torch.arange(max(int(counts.max()), 1), device=valid.device)
    places = (edges[:-1, :, None] + slots).clamp(max=valid.shape[1] - 1)
    weights = (slots < counts[..., None]).to(valid.dtype) / counts[..., None].clamp(min=1)
    return [Minibatch(shuffled.gather(1, place), weight) for place, weight in zip(places, weights, strict=True)]


def likelihood_ratio(log_ratio: Tensor) -> Tensor:
    """How much likelier actions became; at most e to the ``LARGEST_LOG_RATIO``."""
    return log_ratio.clamp(max=LARGEST_LOG_RATIO).exp()


def clipped(ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """min(r A, clip(r, 1 - c, 1 + c) A) of each sample (Schulman et al. 2017, equation 7)."""
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def report(head: Head, samples: Samples, before: Distribution, after: Distribution, clip: float) -> dict[str, Tensor]:
    """How far a round moved the policy, as metrics (): means over all steps, every task counting the same."""
    ratio = likelihood_ratio(head.log_prob(after, samples.action) - samples.log_prob)
    metrics = {
        "policy_loss": -clipped(ratio, samples.advantage, clip),
        "kl": head.kl(before, after),
        "clip_fraction": ((ratio - 1).abs() > clip).float(),
        "entropy": head.entropy(after),
    }
    shown = {name: group_mean(value, samples.valid) for name, value in metrics.items()}
    return shown | ({"std": after.log_std.exp().mean()} if head.init() else {})


class Descent(NamedTuple):
    """How a loss is descended."""

    epochs: int
    minibatches: int
    lr: float
    max_norm: float
    """of a gradient; 0: any"""


Params = dict[str, Tensor]


def descend(
    how: Descent,
    loss: Callable[[Params, Minibatch], Tensor],
    start: tuple[Params, AdamState, Tensor],
    valid: Tensor,
    generator: torch.Generator,
    *,
    bounded: Callable[[Params], Params] = dict,
    enough: Callable[[Params], bool] | None = None,
) -> tuple[Params, AdamState, Tensor]:
    """Adam over minibatches of the valid steps (K, M), shuffled anew in each epoch.

    Args:
        start: parameters, their moments, and the number of steps that led there.
        bounded: brings parameters back to where they are allowed, after every step.
        enough: asked after an epoch whether to end here.
    """
    params, moments, steps = start
    for _ in range(how.epochs):
        for minibatch in minibatches(valid, how.minibatches, generator):
            steps = steps + 1
            grads: Mapping[str, Tensor] = clip_norm(grad(loss)(params, minibatch), how.max_norm)
            params, moments = adam(params, grads, moments, steps, lr=how.lr)
            params = bounded(params)
        if enough is not None and enough(params):
            break
    return params, moments, steps
