"""What the output of an on-policy network means: a Gaussian with a standard deviation of its own, or a choice of one of A."""

import math
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from algos.lib.dists import LOG_SQRT_2PI
from core.types import TaskSpec


class Distribution(NamedTuple):
    """Of actions, at each of (...) observations."""

    out: Tensor
    """(..., A) the network's output: means, or logits"""
    log_std: Tensor
    """(..., A) or broadcast to it; of no meaning to a choice"""


class Head(Protocol):
    """Reads a network's output. Parameters of its own lie beside the network's weights, under ``log_std``."""

    def init(self) -> dict[str, Tensor]: ...

    def read(self, params: Mapping[str, Tensor], out: Tensor) -> Distribution:
        """Of parameters that lead with the axes by which the network is stacked."""
        ...

    def bounded(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same, its own brought back to their bounds. To be called after every step: beyond a bound there is no gradient, so that a
        parameter that got there would never come back."""
        ...

    def log_prob(self, at: Distribution, action: Tensor) -> Tensor:
        """(..., A) -> (...)"""
        ...

    def entropy(self, at: Distribution) -> Tensor:
        """(...) nats"""
        ...

    def kl(self, old: Distribution, new: Distribution) -> Tensor:
        """(...) KL(old || new) nats"""
        ...

    def draw(self, params: Mapping[str, NDArray], out: NDArray[np.float32], noise: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """Actions (N, A) by standard normal ``noise`` (N, A); the likeliest where it is None. On arrays of one seed; ``log_std`` may lead
        with N."""
        ...


class Gaussian:
    """Independent normal actions. Their standard deviations are parameters, the same at all observations; not squashed: simulators clip.

    Args:
        std: at the start.
        min_std: below which none is used.
        max_std: above which none is used.
    """

    def __init__(self, action_dim: int, std: float = 1.0, min_std: float = 1e-6, max_std: float = math.inf) -> None:
        self.action_dim, self.std = action_dim, std
        self.bounds = math.log(min_std), math.log(max_std) if max_std < math.inf else math.inf

    def init(self) -> dict[str, Tensor]:
        return {"log_std": torch.full((1, self.action_dim), math.log(self.std))}

    def read(self, params: Mapping[str, Tensor], out: Tensor) -> Distribution:
        return Distribution(out, params["log_std"].clamp(*self.bounds))

    def bounded(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {**params, "log_std": params["log_std"].clamp(*self.bounds)}

    def log_prob(self, at: Distribution, action: Tensor) -> Tensor:
        scaled = (action - at.out) * torch.exp(-at.log_std)
        return (-0.5 * scaled.square() - at.log_std - LOG_SQRT_2PI).sum(-1)

    def entropy(self, at: Distribution) -> Tensor:
        return (at.log_std + (0.5 + LOG_SQRT_2PI)).expand_as(at.out).sum(-1)

    def kl(self, old: Distribution, new: Distribution) -> Tensor:
        ratio = torch.exp(2 * (old.log_std - new.log_std))
        moved = (old.out - new.out).square() * torch.exp(-2 * new.log_std)
        return (new.log_std - old.log_std + 0.5 * (ratio + moved - 1)).sum(-1)

    def draw(self, params: Mapping[str, NDArray], out: NDArray[np.float32], noise: NDArray[np.float32] | None) -> NDArray[np.float32]:
        if noise is None:
            return out
        std = np.exp(np.clip(params["log_std"], *self.bounds))
        return out + (std[:, 0] if std.ndim == 3 else std) * noise


class Choice:
    """One of A, an action being its one-hot."""

    def __init__(self, action_dim: int) -> None:
        self.action_dim = action_dim

    def init(self) -> dict[str, Tensor]:
        return {}

    def read(self, params: Mapping[str, Tensor], out: Tensor) -> Distribution:
        return Distribution(out, torch.zeros_like(out))

    def bounded(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(params)

    def log_prob(self, at: Distribution, action: Tensor) -> Tensor:
        return (torch.log_softmax(at.out, -1) * action).sum(-1)

    def entropy(self, at: Distribution) -> Tensor:
        logs = torch.log_softmax(at.out, -1)
        return -(logs.exp() * logs).sum(-1)

    def kl(self, old: Distribution, new: Distribution) -> Tensor:
        logs = torch.log_softmax(old.out, -1)
        return (logs.exp() * (logs - torch.log_softmax(new.out, -1))).sum(-1)

    def draw(self, params: Mapping[str, NDArray], out: NDArray[np.float32], noise: NDArray[np.float32] | None) -> NDArray[np.float32]:
        scores = out if noise is None else out + gumbel(noise)
        return np.eye(self.action_dim, dtype=np.float32)[scores.argmax(-1)]


def gumbel(normal: NDArray[np.float32]) -> NDArray[np.float32]:
    """Standard Gumbel numbers from standard normal ones: the largest of logits plus these is a draw from their softmax."""
    uniform = torch.special.ndtr(torch.from_numpy(normal).double()).clamp(1e-12, 1 - 1e-12)
    return (-torch.log(-torch.log(uniform))).float().numpy()


def head(spec: TaskSpec, std: float = 1.0, min_std: float = 1e-6, max_std: float = math.inf) -> Head:
    """What suits a task's actions."""
    return Choice(spec.action_dim) if spec.discrete else Gaussian(spec.action_dim, std, min_std, max_std)
