"""Maths over nested NamedTuples, tuples and dicts of tensors: stack, take one, write one, flatten by name."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor


def map_tree(fn: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """``fn`` of every leaf, the leaves of ``rest`` (same structure) alongside."""
    if isinstance(tree, dict):
        return {k: map_tree(fn, v, *(r[k] for r in rest)) for k, v in tree.items()}
    if isinstance(tree, tuple):
        parts = [map_tree(fn, *leaves) for leaves in zip(tree, *rest, strict=True)]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return fn(tree, *rest)


def stack_trees(trees: Sequence[Any]) -> Any:
    """Trees of equal structure -> one tree whose leaves lead with [len(trees)]."""
    return map_tree(lambda *leaves: torch.stack(leaves), *trees)


def index_tree(tree: Any, index: int | slice) -> Any:
    """Row ``index`` (or rows) of every leaf, as views."""
    return map_tree(lambda leaf: leaf[index], tree)


def write_tree(tree: Any, index: int | slice, values: Any) -> None:
    """Copies ``values`` into row ``index`` (or rows) of every leaf, in place."""
    map_tree(lambda leaf, value: leaf[index].copy_(value), tree, values)


def named_leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """(path, leaf) pairs; the path joins field names and keys by dots."""
    if isinstance(tree, dict):
        items = list(tree.items())
    elif isinstance(tree, tuple):
        items = list(zip(getattr(tree, "_fields", range(len(tree))), tree, strict=True))
    else:
        yield prefix, tree
        return
    for key, value in items:
        yield from named_leaves(value, f"{prefix}.{key}" if prefix else str(key))
