"""Seeds beside each other: updates of one seed, done for S."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from core.tree import index_tree, map_tree, named_leaves, write_tree

Metrics = dict[str, Tensor]


def shuffle_seeds(generators: Sequence[torch.Generator]) -> Tensor:
    """[S] int64: what an update shuffles by, a number for each seed."""
    return torch.stack([torch.randint(2**62, (), generator=g, device=g.device) for g in generators])


def in_turn(one: Callable[..., tuple[Any, Metrics]], state: Any, *inputs: Any) -> Metrics:
    """Updates ``state``, whose leaves lead with [S], in place, one seed after the other. Returns metrics [S].

    What an update on a round does depends on its data, so that seeds have no common graph there.

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


def stacked(one: Callable[..., tuple[Any, Metrics]], state: Any, *inputs: Any) -> Metrics:
    """As ``in_turn``, with all seeds in one graph."""
    new, metrics = vmap(one)(state, *inputs)
    map_tree(lambda leaf, value: leaf.copy_(value), state, new)
    return metrics


def side_by_side(one: Callable[..., tuple[Any, Metrics]], state: Any, *inputs: Any) -> Metrics:
    """``stacked`` where that is faster: a GPU's launches cost more than such small products; on a CPU it gains nothing."""
    first = next(named_leaves(state))[1]
    return (stacked if len(first) > 1 and first.is_cuda else in_turn)(one, state, *inputs)
