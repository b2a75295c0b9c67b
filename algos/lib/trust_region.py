"""Steps of bounded KL divergence, shared by TRPO and MAML: conjugate gradient on exact Fisher-vector products, then a line search.

Schulman et al. 2015, "Trust Region Policy Optimization" (arXiv 1502.05477), section 6 and appendix C. Parameters are dicts of tensors;
directions are flat vectors (D,) in the dict's order. Eager: the number of products and of tries depends on the data.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Params = dict[str, Tensor]
Both = Callable[[Params], tuple[Tensor, Tensor]]
"""parameters -> what is to be raised, and the KL divergence from the old parameters, both 0-d. At the old ones KL and its slope are 0."""
RESIDUAL = 1e-14
"""square of the residual, relative to that of the right-hand side, at which conjugate gradient stops"""


class Output(NamedTuple):
    """The KL divergence once more, in two parts, for cheaper products: it depends on the parameters by way of the policy's output alone."""

    of: Callable[[Params], Sequence[Tensor]]
    """parameters -> output"""
    kl: Callable[[Sequence[Tensor]], Tensor]
    """output -> 0-d, from the old one"""


class Region(NamedTuple):
    """How far a step may go, and how it is found."""

    delta: float
    """largest mean KL(old || new), nats"""
    cg_iterations: int
    damping: float
    """added to the diagonal of the Fisher matrix"""
    backtrack: float
    """factor on the step after each refusal"""
    backtracks: int
    """steps tried, the full one included"""


class Taken(NamedTuple):
    """What a step led to."""

    params: Params
    share: float
    """of the full step; 0 where none was accepted and the parameters are as before"""


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """(D,)"""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def shaped(vector: Tensor, like: Mapping[str, Tensor]) -> Params:
    """A vector (D,) as the dict that it was made of."""
    parts = vector.split([tensor.numel() for tensor in like.values()])
    return {name: part.view_as(tensor) for part, (name, tensor) in zip(parts, like.items(), strict=True)}


def curvature(kl: Tensor, leaves: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
    """v -> Hv, with H the Hessian of ``kl``: the Fisher matrix where ``kl`` is taken at the old parameters. By two backward passes."""
    slope = flat(torch.autograd.grad(kl, leaves, create_graph=True))

    def product(v: Tensor) -> Tensor:
        return flat(torch.autograd.grad(slope @ v, leaves, retain_graph=True))

    return product


def gauss_newton(output: Output, leaves: Params) -> Callable[[Tensor], Tensor]:
    """v -> J'MJv, with J the output's derivative and M the Hessian of KL by the output: at the old parameters, where KL has no slope by the
    output, the same as ``curvature``, and cheaper. Jv is the slope of v'J'u by u (Pearlmutter's product in two reverse passes)."""
    inputs, found = list(leaves.values()), output.of(leaves)
    at = [x.detach().requires_grad_() for x in found]
    slopes = torch.autograd.grad(output.kl(at), at, create_graph=True, materialize_grads=True)
    kept = [i for i, x in enumerate(found) if x.requires_grad and slopes[i].requires_grad]
    found, at, slopes = ([some[i] for i in kept] for some in (found, at, slopes))
    pulls = [torch.zeros_like(x).requires_grad_() for x in found]
    back = torch.autograd.grad(found, inputs, pulls, create_graph=True)

    def product(v: Tensor) -> Tensor:
        parts = list(shaped(v, leaves).values())
        moved = torch.autograd.grad(back, pulls, parts, retain_graph=True)
        bent = torch.autograd.grad(slopes, at, moved, retain_graph=True)
        return flat(torch.autograd.grad(found, inputs, bent, retain_graph=True))

    return product


def conjugate_gradient(product: Callable[[Tensor], Tensor], b: Tensor, iterations: int) -> Tensor:
    """About the x (D,) with product(x) = b, of a positive definite matrix (Hestenes and Stiefel 1952)."""
    x, rest, direction = torch.zeros_like(b), b.clone(), b.clone()
    square = first = b @ b
    for _ in range(iterations):
        if square <= RESIDUAL * first:
            break
        bent = product(direction)
        length = direction @ bent
        if not length > 0:  # rounding has eaten what is left, or a number is not finite
            break
        scale = square / length
        x, rest = x + scale * direction, rest - scale * bent
        before, square = square, rest @ rest
        direction = rest + square / before * direction
    return x


def full_step(direction: Tensor, bent: Tensor, delta: float) -> Tensor:
    """``direction`` x scaled to where the quadratic model of KL, with ``bent`` = Fx, is ``delta``: sqrt(2 delta / x'Fx) x."""
    return (2 * delta / (direction @ bent)).sqrt() * direction


def line_search(both: Both, params: Params, step: Tensor, before: Tensor, region: Region) -> Taken:
    """The longest step times backtrack^j that raises the objective above ``before`` within the region; else the parameters as they are."""
    if not torch.isfinite(step).all():
        return Taken(params, 0.0)
    moves = shaped(step, params)
    for j in range(region.backtracks):
        share = region.backtrack**j
        candidate = {name: tensor + share * moves[name] for name, tensor in params.items()}
        with torch.no_grad():
            after, kl = both(candidate)
        if after > before and kl <= region.delta:
            return Taken(candidate, share)
    return Taken(params, 0.0)


def trust_region_step(both: Both, params: Params, region: Region, output: Output | None = None) -> Taken:
    """One step from ``params``, which are the old ones that ``both`` measures KL from, as does ``output``, with which it takes less."""
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in params.items()}
    with torch.enable_grad():
        objective, kl = both(leaves)
        slope = flat(torch.autograd.grad(objective, list(leaves.values()), retain_graph=True))
        fisher = curvature(kl, list(leaves.values())) if output is None else gauss_newton(output, leaves)

        def damped(v: Tensor) -> Tensor:
            return fisher(v) + region.damping * v

        direction = conjugate_gradient(damped, slope, region.cg_iterations)
        step = full_step(direction, damped(direction), region.delta)
    return line_search(both, params, step, objective.detach(), region)
