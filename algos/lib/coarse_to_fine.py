"""Q-learning of one depth of coarse-to-fine Q-attention, as pure functions: what was chosen, its target, loss, gradient and priority.

James et al. 2022 (arXiv 2106.12534), section 3.4; the numbers below name its pieces, of which the authors' code tells more than the paper:
  1  i* = argmax of the online network's Q(s'), of voxels and of each head; double Q-learning (van Hasselt et al. 2016)
  2  v' = mean over voxels and heads of the target network's Q(s')[i*]
  3  y  = r + discount v', in [0, 1], because a reward comes once and is 1
  4  d  = mean over voxels and heads of smooth_l1(Q(s)[chosen], y)
  5  l  = mean of w (d + lambda_voxels mean |Q(s)| + lambda_heads mean |R(s)|), w = 1 / sqrt(probability) divided by its largest
  6  p  = sqrt(d), divided by its largest
``gradients`` goes through a batch in parts, which a CPU's caches like better and which bounds memory: the same sums in another order.

Shapes: B rows of a batch, V voxels per axis, H heads beside the voxels, D = sum of their choices, L proprioception, Z latent.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from algos.lib.adam import AdamState, adam
from algos.lib.qattention import Params, Values

TINY = 1e-10
"""of probabilities and errors, whose roots must have a slope"""
Network = Callable[[Mapping[str, Tensor], Tensor, Tensor, Tensor], Values]
"""(parameters, grid (b, V, V, V, 10), proprioception (b, L), latent (b, Z)) -> Q"""


class Rows(NamedTuple):
    """A batch as one depth sees it."""

    grid: Tensor
    """(B, V, V, V, 10)"""
    low_dim: Tensor
    """(B, L)"""
    voxel: Tensor
    """(B,) int64, number of the voxel that was chosen"""
    choice: Tensor
    """(B, H) int64, what was chosen of each head"""
    reward: Tensor
    """(B,) in [0, 1]"""
    discount: Tensor
    """(B,) of the value of the next state; 0: none is asked for"""
    next_grid: Tensor
    """(B, V, V, V, 10)"""
    next_low_dim: Tensor
    """(B, L)"""
    weight: Tensor
    """(B,) w of equation 5"""
    latent: Tensor
    """(B, Z) of both states; Z may be 0"""


class Regular(NamedTuple):
    """Weights of the mean absolute Q in equation 5."""

    voxels: float = 1.0
    heads: float = 1.0


REGULAR = Regular()


class Descent(NamedTuple):
    """How a loss is descended."""

    lr: float = 5e-4
    clip: float = 0.01
    """largest gradient of a parameter; 0: any"""
    weight_decay: float = 1e-6
    """times a parameter, added to its gradient"""
    tau: float = 0.0025
    """share of the network that moves into its target"""


class Gradients(NamedTuple):
    """What a batch says."""

    params: Params
    latent: Tensor
    """(B, Z)"""
    error: Tensor
    """(B,) d of equation 4"""
    metrics: dict[str, Tensor]
    """() each, means over the batch"""


def greedy(values: Values, heads: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Equation 1: the best voxel (B,) and the best choice of each head (B, H)."""
    best = [part.argmax(-1) for part in values.heads.split(list(heads), -1)] if heads else []
    voxel = values.voxels.argmax(-1)
    return voxel, torch.stack(best, -1) if best else voxel.new_empty(len(voxel), 0)


def chosen(values: Values, voxel: Tensor, choice: Tensor, heads: Sequence[int]) -> Tensor:
    """(B, 1 + H) Q of a voxel (B,) and of a choice of each head (B, H)."""
    first = torch.tensor([sum(heads[:head]) for head in range(len(heads))], device=choice.device, dtype=choice.dtype)
    return torch.cat([values.voxels.gather(1, voxel[:, None]), values.heads.gather(1, choice + first)], 1)


def next_value(online: Values, target: Values, heads: Sequence[int]) -> Tensor:
    """Equation 2, (B,)."""
    return chosen(target, *greedy(online, heads), heads).mean(1)


def td_target(reward: Tensor, discount: Tensor, value: Tensor, *, parity: bool = False) -> Tensor:
    """Equation 3, (B,). With ``parity`` it has no upper bound, as in the authors' code."""
    return (reward + discount * value).clamp(0.0, None if parity else 1.0)


def td_error(values: Values, voxel: Tensor, choice: Tensor, y: Tensor, heads: Sequence[int]) -> Tensor:
    """Equation 4, (B,)."""
    q = chosen(values, voxel, choice, heads)
    return F.smooth_l1_loss(q, y[:, None].expand_as(q), reduction="none").mean(1)


def regulariser(values: Values, regular: Regular) -> Tensor:
    """What equation 5 adds to each row's error, (B,)."""
    cost = regular.voxels * values.voxels.abs().mean(1)
    return cost + regular.heads * values.heads.abs().mean(1) if values.heads.shape[1] else cost


def priority(error: Tensor) -> Tensor:
    """Equation 6 for a whole batch (B,)."""
    root = (error + TINY).sqrt()
    return root / root.max()


def row_priority(depths: Sequence[Tensor], *, parity: bool = False) -> Tensor:
    """What replay is told of a row (B,), and ranks it by to the power of ``Stream.priority``: the sum over depths.

    With ``parity`` a depth counts again in every depth after it, as in the authors' code: with two, 2 p0 + p1.
    """
    counts = range(len(depths), 0, -1) if parity else [1] * len(depths)
    return torch.stack([count * p for count, p in zip(counts, depths, strict=True)]).sum(0)


def next_values(
    online: Mapping[str, Tensor], target: Mapping[str, Tensor], rows: Rows, network: Network, heads: Sequence[int], at_once: int
) -> Tensor:
    """Equation 2 for a whole batch (B,). Rows whose discount is 0 get 0 and cost nothing."""
    value = torch.zeros_like(rows.reward)
    for asked in rows.discount.nonzero()[:, 0].split(at_once):
        if not len(asked):
            break
        grid, low_dim, latent = rows.next_grid[asked], rows.next_low_dim[asked], rows.latent[asked]
        with torch.no_grad():
            best, valued = (network(params, grid, low_dim, latent) for params in (online, target))
            value[asked] = next_value(best, valued, heads)
    return value


def gradients(
    params: Params,
    target: Mapping[str, Tensor],
    rows: Rows,
    network: Network,
    heads: Sequence[int],
    *,
    regular: Regular = REGULAR,
    at_once: int = 16,
    parity: bool = False,
) -> Gradients:
    """The gradient of equation 5, by parameter and by latent, ``at_once`` rows at a time.

    Args:
        params: without a history; ``target`` has the same names.
        parity: see ``td_target``.
    """
    y = td_target(rows.reward, rows.discount, next_values(params, target, rows, network, heads, at_once), parity=parity)
    leaves = {name: p.detach().requires_grad_() for name, p in params.items()}
    total: list[Tensor] = []
    told: list[tuple[Tensor, ...]] = []
    for part, goal in zip(_parts(rows, at_once), y.split(at_once), strict=True):
        latent = part.latent.detach().requires_grad_()
        values = network(leaves, part.grid, part.low_dim, latent)
        error, cost = td_error(values, part.voxel, part.choice, goal, heads), regulariser(values, regular)
        loss = ((error + cost) * part.weight).sum() / len(y)
        *grads, of_latent = torch.autograd.grad(loss, [*leaves.values(), latent], allow_unused=True, materialize_grads=True)
        total = [have + more for have, more in zip(total, grads, strict=True)] if total else grads
        q = values.voxels.detach()
        told.append((of_latent, error.detach(), cost.detach(), loss.detach()[None], q.mean(1), q.amax(1)))
    of_latent, error, cost, loss, mean, top = (torch.cat(parts) for parts in zip(*told, strict=True))
    metrics = {"loss": loss.sum(), "td_error": error.mean(), "regulariser": cost.mean(), "target": y.mean()}
    metrics |= {"q_mean": mean.mean(), "q_max": top.mean()}
    return Gradients(dict(zip(leaves, total, strict=True)), of_latent, error, metrics)


def _parts(rows: Rows, at_once: int) -> Iterator[Rows]:
    return (Rows(*part) for part in zip(*(field.split(at_once) for field in rows), strict=True))


def descend(
    params: Params, target: Params, moments: AdamState, count: Tensor, grads: Params, how: Descent
) -> tuple[Params, Params, AdamState]:
    """One step of Adam, and of the target after it: new parameters, target and moments. ``count``: 0-d float, steps with this one."""
    clipped = {name: g.clamp(-how.clip, how.clip) if how.clip else g for name, g in grads.items()}
    decayed = {name: g + how.weight_decay * params[name] for name, g in clipped.items()}
    params, moments = adam(params, decayed, moments, count, lr=how.lr)
    return params, {name: t.lerp(params[name], how.tau) for name, t in target.items()}, moments
