"""What the ranks of the tests run: factories that a child process can import, and updates over a batch that is given."""

import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch

import algos
from core.contracts import Reduce, alone
from core.rows import CLOSING, row_dtype
from core.seeding import SeedTree
from core.tree import map_tree, named_leaves
from core.types import Batch, Chunk, Field, TaskSpec
from learner.group import Group, mean_over
from learner.settings import Config
from learner.worker import LearnerWorker
from replay.ring import Ring
from replay.sampler import Sampler

K, B, UPDATES = 3, 8, 5
SPEC = TaskSpec("test", (Field("obs", (6,)),), 2, 50)


def sac(batch_size: int):
    module = algos.find("sac")
    return module.make(module.Config(hidden=(16, 16), batch_size=batch_size, normalize_obs=True), SPEC, K)


def filled(directory: Path) -> Ring:
    dtype = row_dtype(SPEC)
    ring = Ring.create("ranks", dtype, tasks=K, capacity=400, writers=1, window=4, directory=directory)
    rng = np.random.default_rng(0)
    for sequence in range(30):
        rows = np.zeros(21, dtype)
        rows["obs"] = rng.standard_normal((21, 6))
        rows["action"] = rng.uniform(-1, 1, (21, 2))
        rows["reward"], rows["t"], rows["episode"] = rng.random(21), np.arange(21), sequence
        rows["kind"][-1], rows["truncated"][-2] = CLOSING, True
        ring.insert(Chunk(0, 0, sequence, sequence % K, rows))
    return ring


def make(ring: str, mode: str, ranks: int, rank: int, reduce: Reduce, updates: int, device: str = "cpu") -> LearnerWorker:
    """As ``manyhands.build`` does it: a factory for ``RankedLearner``, once ring, mode and ranks are bound."""
    algorithm, tree = sac(B // ranks), SeedTree(0).child("learner")
    tree = tree if rank == 0 else tree.child("rank", rank).child("updates", updates)
    source = Sampler(Ring.attach(ring), range(K), algorithm.plan, tree.child("sampler").integer())
    where = {} if device == "cpu" else {"device": f"cuda:{rank}"}
    return LearnerWorker(algorithm, [source], [tree], Config(threads=1, compile=mode, eager_first=2, **where), reduce)


def updated(batch_size: int, part: slice, reduce: Reduce = alone, mode: str = "eager", device: str = "cpu"):
    """State and metrics after some updates with a part of each of the given batches, and of their noise."""
    algorithm, rng = sac(batch_size), torch.Generator().manual_seed(1)
    state = algorithm.init([3])
    to = partial(torch.Tensor.to, device=device)
    state = map_tree(to, state)
    update = partial(algorithm.update, reduce=reduce)
    update = torch.compile(update, fullgraph=True, dynamic=False) if mode == "compile" else update
    metrics = {}
    for _ in range(UPDATES):
        shapes = [(K, B, 6), (K, B, 2), (K, B), (K, B, 6), (K, B)]
        batch = Batch(*(torch.randn(shape, generator=rng) * 2 + 1 for shape in shapes))
        batch = batch._replace(bootstrap=torch.full((K, B), 0.99))
        noise = whole_noise(algorithm, state, rng)
        mine = map_tree(lambda leaf: to(leaf[None, :, part].contiguous()), batch)
        metrics = update(state, mine, map_tree(lambda leaf: to(shared(leaf, part)), noise))
    return state, {name: value.clone() for name, value in metrics.items()}


def whole_noise(algorithm, state, rng):
    return sac(B).noise(state, [rng])


def shared(leaf: torch.Tensor, part: slice) -> torch.Tensor:
    """(S, K, B, A) -> (S, K, B / R, A); what is not per transition is each rank's as it is."""
    return leaf[:, :, part].contiguous() if leaf.shape[1:3] == (K, B) else leaf


def main(store: str, rank: str, ranks: str, mode: str, device: str, out: str) -> None:
    """One rank of a process group without a learner: writes what it has in the end."""
    torch.set_num_threads(1)
    r, R = int(rank), int(ranks)
    where = torch.device(device if device == "cpu" else f"cuda:{r}")
    if where.type == "cuda":
        torch.cuda.set_device(where)
    group = Group(Path(store), r, R, where, 60)
    with group.updating():
        part = slice(r * B // R, (r + 1) * B // R)
        state, metrics = updated(B // R, part, mean_over(group), mode, str(where))
    torch.save({"state": list(_leaves(state)), "metrics": metrics}, out)
    group.close()


def _leaves(state):
    return ((name, leaf.cpu()) for name, leaf in named_leaves(state))


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)
