"""One side of ``bench/c2farm_update.py``, in a process of its own (see ``sac_sides.serve``). All run under the same Python and torch.

All begin with the same weights on the same batch; what their first update came to is written down and compared.
"""

import os
import resource
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from c2farm_scene import BINS, BOUNDS, INTRINSICS, LOW_DIM, REACH, VOXELS, Scenes, camera, crop, make_scenes, pixel
from sac_sides import Mode, serve

STORED, IMAGES, ACT = "update, grids as replay keeps them", "update, from images", "act"
"""Modes. Of the peer's update only the second is there."""
OURS, SHORT, PEER, TUNED = "manyhands", "manyhands bfloat16", "ARM", "ARM, malloc tuned"
SIDES = (OURS, SHORT, PEER, TUNED)
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_TOP_PAD_": "67108864"}
"""glibc keeps what was freed instead of giving it back to the kernel page by page"""
SOURCE, DEVICE = "MANYHANDS_ARM", "MANYHANDS_BENCH_DEVICE"
"""environment variables: the folder with the peer's ``arm``, and where to compute"""
GAMMA = 0.99
CALL_LIMIT_S = 900.0
"""the peer's update of 128 rows on one core takes minutes where pages are given back"""


class Sizes(NamedTuple):
    batch: int
    at_once: int
    """rows of a part of the batch, ours"""


CASES = {"B16": Sizes(16, 16), "B128": Sizes(128, 16), "B4": Sizes(4, 4)}
DEFAULT = ("B16", "B128")
"""The other says only whether all runs."""


class Update(NamedTuple):
    """What the first update of a side came to, by depth."""

    loss: list[float]
    q_mean: list[float]
    """mean Q of all voxels"""
    moved: list[float]
    """norm of what the step changed the network by"""


def initial() -> list[Any]:
    """The networks of both depths that all sides begin with, sizes and parameters."""
    import torch

    from algos.lib import qattention

    made = [qattention.Sizes(LOW_DIM, heads, voxels=VOXELS) for heads in ((), qattention.arm_heads(rotation_bins=BINS))]
    return [(sizes, qattention.init_qattention(sizes, torch.Generator().manual_seed(depth))) for depth, sizes in enumerate(made)]


def boxes(scenes: Scenes) -> np.ndarray:
    """(depths, 2, B, 6) bounds of the grids. The second depth's is about the middle of the voxel that the first should choose."""
    from algos.lib.voxels import around, centre, label

    first = np.broadcast_to(BOUNDS, (*scenes.position.shape[:2], 6))
    return np.stack([first, around(centre(label(scenes.position, BOUNDS, VOXELS), BOUNDS, VOXELS), REACH)])


def sparse(scenes: Scenes, when: int, row: int, depth: int, bounds: np.ndarray) -> Any:
    """One grid, of the pixels that the authors' code looks at."""
    from algos.lib.voxels import cloud, voxelise

    seen = cloud(scenes.depth[when, row], INTRINSICS, camera()).reshape(*scenes.depth.shape[2:], 3), scenes.colour[when, row]
    if depth:
        seen = tuple(crop(part, pixel(scenes.position[when, row])) for part in seen)
    points, colours = (part.reshape(-1, 3) for part in seen)
    return voxelise(points, colours, bounds, VOXELS)


class Ours:
    """Both depths, one after the other, as an algorithm calls them."""

    packages = ("torch", "numpy")

    def __init__(self, sizes: Sizes, scenes: Scenes, threads: int, short: bool) -> None:
        import torch

        from algos.lib.adam import init_adam

        torch.set_num_threads(threads)
        self.device = torch.device(os.environ.get(DEVICE, "cpu"))
        self.sizes, self.scenes, self.body = sizes, scenes, torch.bfloat16 if short else None
        made = [(s, {k: p.to(self.device) for k, p in params.items()}) for s, params in initial()]
        self.nets = [s for s, _ in made]
        self.state = [(p, {k: v.clone() for k, v in p.items()}, init_adam(p)) for _, p in made]
        self.actor = [p for _, p in made]  # acts with the weights of the start throughout
        self.updates, self.first = 0, Update([], [], [])
        self.bounds = boxes(scenes)
        self.kept = self.records()
        self.seen, self.acted = self.eye(), []
        self.modes = {
            STORED: Mode(lambda: self.update(self.kept), 1, least=1),
            IMAGES: Mode(lambda: self.update(self.records()), 1, least=1),
            ACT: Mode(self.act, 1, least=3),
        }
        self.note = f"{'body in bfloat16' if short else 'float32'}, {sizes.at_once} rows at once"

    @property
    def about(self) -> dict[str, Any]:
        return said(self.first, [sum(p.numel() for p in state[0].values()) for state in self.state], self.acted)

    def records(self) -> list[Any]:
        """(index, value, count) of each depth and state, padded to the longest, as replay keeps them."""
        kept, B = [], self.sizes.batch
        for depth in range(2):
            for when in range(2):
                grids = [sparse(self.scenes, when, row, depth, self.bounds[depth, when, row]) for row in range(B)]
                count = np.array([len(grid.voxel) for grid in grids])
                index, value = np.zeros((B, count.max()), np.uint16), np.zeros((B, count.max(), 6), np.float32)
                for row, grid in enumerate(grids):
                    index[row, : count[row]], value[row, : count[row]] = grid
                kept.append((index, value, count))
        return kept

    def rows(self, depth: int, kept: list[Any]) -> Any:
        import torch

        from algos.lib import coarse_to_fine as ctf
        from algos.lib.voxels import dense, flat, label

        def tensor(x: Any, kind: Any = None) -> Any:
            return torch.as_tensor(x, dtype=kind).to(self.device)

        scenes, depths = self.scenes, self.bounds[depth, 0]
        voxel = np.stack([flat(label(p, b, VOXELS), VOXELS) for p, b in zip(scenes.position[0], depths, strict=True)])
        choice = np.concatenate([scenes.rotation, scenes.gripper[:, None]], 1)[:, : len(self.nets[depth].heads)]
        grids = [dense(*(tensor(part) for part in kept[2 * depth + when]), VOXELS) for when in range(2)]
        discount, chance = GAMMA * (1 - scenes.terminal), tensor(scenes.probability).rsqrt()
        weight = chance / chance.max()
        return ctf.Rows(
            grids[0],
            tensor(scenes.low_dim[0]),
            tensor(voxel),
            tensor(choice, torch.int64),
            tensor(scenes.reward),
            tensor(discount, torch.float32),
            grids[1],
            tensor(scenes.low_dim[1]),
            weight,
            weight.new_empty(len(weight), 0),
        )

    def network(self, depth: int) -> Callable[..., Any]:
        from algos.lib.qattention_fast import fast

        return lambda params, grid, low_dim, _: fast(params, grid, low_dim, self.nets[depth], body=self.body)

    def update(self, kept: list[Any]) -> Any:
        """Equations 1 to 6 of both depths, and the priorities of the rows."""
        import torch

        from algos.lib import coarse_to_fine as ctf

        self.updates += 1
        count, priorities = torch.tensor(float(self.updates), device=self.device), []
        for depth, (params, target, moments) in enumerate(self.state):
            rows, heads = self.rows(depth, kept), self.nets[depth].heads
            got = ctf.gradients(params, target, rows, self.network(depth), heads, at_once=self.sizes.at_once, parity=True)
            self.state[depth] = ctf.descend(params, target, moments, count, got.params, ctf.Descent())
            priorities.append(ctf.priority(got.error))
            if self.updates == 1:
                self.first.loss.append(float(got.metrics["loss"]))
                self.first.q_mean.append(float(got.metrics["q_mean"]))
                changes = [(self.state[depth][0][k] - p).double().square().sum() for k, p in params.items()]
                self.first.moved.append(float(sum(changes) ** 0.5))
        return ctf.row_priority(priorities, parity=True).cpu() ** 0.7

    def act(self) -> None:
        """From a cloud of points to a place, a rotation and a state of the gripper. All points at both depths, float32 always."""
        import torch

        from algos.lib import coarse_to_fine as ctf
        from algos.lib.qattention_fast import fast
        from algos.lib.rotations import from_bins
        from algos.lib.voxels import around, centre, dense, unflat, voxelise

        points, colours, low_dim = self.seen
        bounds, self.acted, choice = BOUNDS, [], np.zeros((1, 4), int)
        with torch.no_grad():
            for params, sizes in zip(self.actor, self.nets, strict=True):
                grid = voxelise(points, colours, bounds, VOXELS)
                told = (torch.from_numpy(part)[None].to(self.device) for part in grid)
                values = fast(params, dense(*told, torch.tensor([len(grid.voxel)], device=self.device), VOXELS), low_dim, sizes)
                voxel, best = (part.cpu().numpy() for part in ctf.greedy(values, sizes.heads))
                self.acted.append(unflat(voxel, VOXELS)[0].tolist())
                place = centre(unflat(voxel, VOXELS)[0], bounds, VOXELS)
                bounds, choice = around(place, REACH), best
        self.action = np.concatenate([place, from_bins(choice[0, :3], BINS), choice[0, 3:]])

    def eye(self) -> tuple[Any, Any, Any]:
        import torch

        from algos.lib.voxels import cloud

        points = cloud(self.scenes.depth[0, 0], INTRINSICS, camera())
        return points, self.scenes.colour[0, 0].reshape(-1, 3), torch.from_numpy(self.scenes.low_dim[0, :1]).to(self.device)


def said(first: Update, parameters: list[int], acted: list[Any]) -> dict[str, Any]:
    """What a side says of itself when all its modes have run once."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"first": first._asdict(), "parameters": parameters, "rss_gib": memory, "acted": acted, "call_limit_s": CALL_LIMIT_S}


def make(side: str, case: str, threads: int, rows: int) -> Any:
    sizes = CASES[case]
    scenes = make_scenes(sizes.batch)
    if side in (OURS, SHORT):
        return Ours(sizes, scenes, threads, side == SHORT)
    from c2farm_peer import Arm

    return Arm(sizes, scenes, threads, "glibc's allocator told to keep memory" if side == TUNED else "as shipped")


if __name__ == "__main__":
    if sys.argv[1] in (OURS, SHORT, TUNED) and any(os.environ.get(name) != value for name, value in ALLOCATOR.items()):
        os.execve(sys.executable, [sys.executable, "-P", *sys.argv], {**os.environ, **ALLOCATOR})
    serve(make, __doc__)
