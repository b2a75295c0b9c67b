"""Networks of K tasks as networks of other tasks: each new task gets the row, head or value of the old one that it was, else their mean.

Functions of the tasks that both know are kept: those of a task-conditioned network, of a network with heads, and of one whose only task
needs no one-hot, into whose bias the row is folded. Parameters may lead with any axes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from algos.lib.mlp import Params, depth
from core.errors import ConfigError

Origin = Sequence[int | None]
"""for each new task its index among the old ones, None where it is not among them"""


def check_same(mine: Any, theirs: Any, names: Sequence[str]) -> None:
    """Of two algorithms' settings: those that decide what the networks are.

    Raises:
        ConfigError: one of them differs.
    """
    for name in names:
        here, there = getattr(mine, name), getattr(theirs, name)
        if here != there:
            raise ConfigError(f"algo.{name} is {here}, the run to begin from has {there}; fix: the same setting")


def copied(leaves: Mapping[str, Tensor]) -> Params:
    """The same network, of which nothing is shared."""
    return {name: leaf.clone() for name, leaf in leaves.items()}


def of_tasks(values: Tensor, origin: Origin, dim: int) -> Tensor:
    """The slices of the old tasks along ``dim`` -> those of the new ones; a task that is new gets the mean of all old ones."""
    mean = values.mean(dim)
    return torch.stack([mean if k is None else values.select(dim, k) for k in origin], dim)


def network(old: Mapping[str, Tensor], origin: Origin, *, told: int, tells: int, heads: bool) -> Params:
    """The network of ``len(origin)`` tasks that does what the old one did.

    Args:
        told: rows of the old first layer that are the tasks' one-hot; 0: it is told no task.
        tells: the same of the new one.
        heads: both have an output layer per task.
    """
    new, last = copied(old), depth(old) - 1
    inputs = old["w0"].shape[-2] - told
    shared, rows = old["w0"][..., :inputs, :], old["w0"][..., inputs:, :]
    if tells:
        silent = shared.new_zeros(*shared.shape[:-2], tells, shared.shape[-1])
        new["w0"] = torch.cat([shared, of_tasks(rows, origin, -2) if told else silent], -2)
    elif told:
        new["w0"] = shared.clone()
        new["b0"] = of_tasks(rows, origin, -2) + old["b0"]  # in this order: ``task_mlp`` adds the row to the bias
    if heads:
        for name in (f"w{last}", f"b{last}"):
            new[name] = of_tasks(old[name], origin, -3)
    return new
