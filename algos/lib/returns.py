"""From the rewards of whole episodes to advantages: returns, the linear feature baseline, generalised advantage estimation.

Episodes end with nothing to come: a baseline that is told the time knows how much of it is left, so a time limit is not bootstrapped
through. All functions are vectorised over leading axes (...); ``valid`` is 1 where a step was taken, and steps after the end are zeros.
"""

import torch
from torch import Tensor

RIDGE, TRIES = 1e-5, 5
LARGEST_OBS = 10.0
"""beyond which the baseline sees no difference, so that a square does not blow up"""
TIME_SCALE = 100.0


def discounted(x: Tensor, gamma: float | Tensor) -> Tensor:
    """(..., T): y_t = x_t + gamma_t y_{t+1}; gamma is the same at all steps, or (..., T)."""
    total, sums = torch.zeros_like(x[..., 0]), []
    for t in reversed(range(x.shape[-1])):
        total = x[..., t] + (gamma[..., t] if isinstance(gamma, Tensor) else gamma) * total
        sums.append(total)
    return torch.stack(sums[::-1], -1)


def gae(reward: Tensor, value: Tensor, valid: Tensor, gamma: float | Tensor, lam: float) -> Tensor:
    """(..., T) advantages (Schulman et al. 2016, equation 16); the value after the last step is 0. ``gamma`` as in ``discounted``."""
    taken = valid > 0
    value = torch.where(taken, value, 0.0)
    after = torch.cat([value[..., 1:], torch.zeros_like(value[..., :1])], -1)
    return discounted(torch.where(taken, reward + gamma * after - value, 0.0), gamma * lam) * valid


def normalized(x: Tensor, valid: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Mean 0 and standard deviation 1 over ``dims``, counting only valid steps.

    In float64: in float32 the rounding errors of what is always the same would come out as numbers of size 1.
    """
    count = valid.sum(dims, keepdim=True).clamp(min=1).double()
    wide = torch.where(valid > 0, x, 0.0).double()
    centred = (wide - wide.sum(dims, keepdim=True) / count) * valid
    std = (centred.square().sum(dims, keepdim=True) / count).sqrt()
    return (centred / (std + 1e-8)).to(x.dtype)


def features(obs: Tensor) -> Tensor:
    """(..., T, O) -> (..., T, 2O + 4): s, s^2, and with u = t / 100: u, u^2, u^3, 1 (Duan et al. 2016, appendix)."""
    s = obs.clamp(-LARGEST_OBS, LARGEST_OBS)
    u = (torch.arange(obs.shape[-2], device=obs.device, dtype=obs.dtype) / TIME_SCALE)[:, None].expand(*obs.shape[:-1], 1)
    return torch.cat([s, s.square(), u, u.square(), u**3, torch.ones_like(u)], -1)


def linear_baseline(inputs: Tensor, returns: Tensor, valid: Tensor) -> Tensor:
    """The least-squares prediction of ``returns`` (G, M) from ``inputs`` (G, M, F), of each group g by itself; (G, M).

    Solved in float64 with a ridge, ten times as large for a group whose solution is not finite, at most five times; then it predicts 0.
    What lies in steps that are not valid has no influence.
    """
    wide = torch.where(valid[..., None] > 0, inputs, 0.0).double()
    target = torch.where(valid > 0, returns, 0.0).double()[..., None]
    gram, moment = wide.mT @ wide, wide.mT @ target
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    ridge, solution = torch.full_like(gram[:, :1, :1], RIDGE), torch.zeros_like(moment)
    for _ in range(TRIES):
        solution, code = torch.linalg.solve_ex(gram + ridge * identity, moment)
        failed = (code != 0) | ~torch.isfinite(solution).all((-2, -1))
        solution = torch.where(failed[:, None, None], 0.0, solution)
        if not failed.any():
            break
        ridge = torch.where(failed[:, None, None], ridge * 10, ridge)
    predicted = (wide @ solution)[..., 0]
    return predicted.nan_to_num(0, 0, 0).to(returns.dtype)
