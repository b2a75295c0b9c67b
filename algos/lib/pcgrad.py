"""PCGrad (Yu et al. 2020, "Gradient surgery for multi-task learning", algorithm 1): tasks' gradients without what works against others."""

from collections.abc import Mapping

import torch
from torch import Tensor


def pcgrad(grads: Mapping[str, Tensor], order: Tensor) -> dict[str, Tensor]:
    """Mean over the tasks of their projected gradients.

    Every projected gradient is a combination of the K given ones, so all is done on their K x K inner products.

    Args:
        grads: name -> (K, ...), one gradient per task.
        order: (K, K) random numbers: task i meets the others in the order of row i.
    """
    flat = torch.cat([g.flatten(1) for g in grads.values()], 1)
    shares = projected(flat @ flat.T, order).mean(0)
    return {name: torch.tensordot(shares, g, 1) for name, g in grads.items()}


def projected(inner: Tensor, order: Tensor) -> Tensor:
    """(K, K) coefficients: row i is task i's projected gradient in terms of the given ones, whose inner products are ``inner``."""
    K = len(inner)
    identity = torch.eye(K, device=inner.device, dtype=inner.dtype)
    turns = identity[order.argsort(1)]  # (K, turn, K) one-hot: whom task i meets at each turn
    shares, least = identity, torch.finfo(inner.dtype).tiny  # a gradient that vanishes divides nothing by zero
    for turn in range(K):
        other = turns[:, turn]
        conflict = ((shares @ inner) * other).sum(1).clamp(max=0.0)
        conflict = conflict * (1 - (other * identity).sum(1))  # not with itself
        shares = shares - other * (conflict / ((other @ inner) * other).sum(1).clamp(min=least))[:, None]
    return shares
