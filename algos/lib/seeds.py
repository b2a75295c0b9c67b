"""Seeds that update one after the other: what an update on a round does depends on its data, so that they have no common graph."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from core.tree import index_tree, named_leaves, write_tree

Metrics = dict[str, Tensor]


def shuffle_seeds(generators: Sequence[torch.Generator]) -> Tensor:
    """[S] int64: what an update shuffles by, a number for each seed."""
    return torch.stack([torch.randint(2**62, (), generator=g, device=g.device) for g in generators])


def in_turn(one: Callable[..., tuple[Any, Metrics]], state: Any, *inputs: Any) -> Metrics:
    """Updates ``state``, whose leaves lead with [S], in place. Returns metrics [S].

    Args:
        one: (state, *inputs) of one seed -> its new state, and metrics ().
        inputs: trees that lead with [S].
    """
    told = []
    for s in range(len(next(named_leaves(state))[1])):
        new, metrics = one(index_tree(state, s), *(index_tree(part, s) for part in inputs))
        write_tree(state, s, new)
        told.append(metrics)
    return {name: torch.stack([metrics[name] for metrics in told]) for name in told[0]}
