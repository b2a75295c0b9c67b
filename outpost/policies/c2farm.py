"""How C2F-ARM acts: from what cameras show to a next-best pose and to the columns of replay. For one task, for many, with inferred context.

``algos.c2farm`` learns what is used here. On both sides all runs through ``C2FARM``; only what values voxels, and what encodes transitions
of a context, is in torch there and in numpy here.

Shapes: N simulators, L depths, V voxels per axis, H heads, A action, Z latent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from outpost.policies import image_context
from outpost.policies.exploration import disturbs, moved, noise_dim, turned
from outpost.policies.grids import stacked
from outpost.policies.keyframe_rows import LiveRows, Looked
from outpost.policies.next_best_pose import Choice, Space
from outpost.policies.qattention import Network
from outpost.policies.voxels import Sparse, dense, unflat, voxelise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Columns = Dict[str, NDArray]
    Params = Mapping[str, NDArray]
    Noise = Optional[NDArray[np.float32]]

ENCODER = "encoder"


class Sight(NamedTuple):
    """How one acts and sees, as ``core.types.Keyframes`` says."""

    bounds: tuple[float, ...]
    cameras: tuple[str, ...]
    rotation: bool
    collisions: bool


class Networks(NamedTuple):
    """What an algorithm learns, as functions of the parameters."""

    best: Callable[[Params, int, Sequence[Sparse], NDArray, NDArray], tuple[NDArray[np.int64], NDArray[np.int64]]]
    """(parameters, depth, N grids, obs (N, O), z (N, Z)) -> the best voxel (N,), and of each head the best choice (N, H)"""
    encode: Callable[[Params, NDArray, NDArray, NDArray], tuple[NDArray, NDArray]]
    """(parameters, images, actions, rewards) of transitions -> mean and variance (N, Z)"""


class InNumpy:
    """``Networks`` in numpy; what it lays out of parameters it keeps until others come.

    Args:
        heads: choices of each head of the last depth.
    """

    def __init__(self, heads: Sequence[int], voxels: int, inferred: image_context.Config) -> None:
        self.heads, self.voxels, self.inferred = heads, voxels, inferred
        self.params: Params = {}
        self.networks: dict[int, Network] = {}

    def best(
        self, params: Params, depth: int, grids: Sequence[Sparse], obs: NDArray, z: NDArray
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """See ``Networks``."""
        if params is not self.params:
            self.params, self.networks = params, {}
        if depth not in self.networks:
            self.networks[depth] = Network(of_part(params, depth))
        q, choices = self.networks[depth](np.stack([dense(grid, self.voxels) for grid in grids]), obs, z)
        if not choices.shape[1]:
            return q.argmax(-1), np.zeros((len(q), 0), np.int64)
        parts = np.split(choices, np.cumsum(self.heads)[:-1], -1)
        return q.argmax(-1), np.stack([part.argmax(-1) for part in parts], -1)

    def encode(self, params: Params, rgb: NDArray, action: NDArray, reward: NDArray) -> tuple[NDArray, NDArray]:
        """See ``Networks``."""
        return image_context.encode(of_part(params, ENCODER), rgb, action, reward, self.inferred)


class C2FARM:
    """See the module, and ``outpost.policies``.

    Args:
        heads: choices of each head of the last depth.
        explore: chance that an action is disturbed.
        inferred: sizes of what is inferred of a task.
    """

    def __init__(self, rows: LiveRows, networks: Networks, heads: Sequence[int], explore: float, inferred: image_context.Sizes) -> None:
        self.rows, self.networks, self.heads, self.explore, self.inferred = rows, networks, tuple(heads), explore, inferred
        self.space, self.depths, self.latent = rows.space, rows.space.depths, inferred.latent
        self.disturbing = noise_dim(self.depths, len(heads))
        """numbers of noise that say whether and how an action is disturbed; those for z follow"""
        self.noise_dim = self.disturbing + (self.latent + inferred.context if self.latent else 0)

    def act(self, params: Params, carry: Any, seen: Mapping[str, Any], noise: Noise) -> tuple[NDArray[np.float32], Any, Columns]:
        """Actions (N, A): the best voxel of each depth in turn, and the best of each head, now and then disturbed."""
        z, carry = self._inferred(params, carry, seen, noise)
        looked = self.look(params, seen, z, noise)
        columns = stacked([{**self.rows.encoding(one), **self.rows.labels(one.choice)} for one in looked])
        return np.stack([self.space.action(one.choice) for one in looked]), carry, columns

    def encode(self, params: Params, seen: Mapping[str, Any]) -> Columns:
        """The cubes of an observation on which nobody acts are where one would have acted, who knows no more of the task than what most
        tasks have in common."""
        z = np.zeros((len(seen["obs"]), self.latent), np.float32)
        return stacked([self.rows.encoding(one) for one in self.look(params, seen, z, None)])

    def _inferred(self, params: Params, carry: Any, seen: Mapping[str, Any], noise: Noise) -> tuple[NDArray[np.float32], Any]:
        """z (N, Z) of the episodes under way, and what is remembered of the trials."""
        if not self.latent:
            return np.zeros((len(seen["obs"]), 0), np.float32), carry
        rgb = seen["fields"][f"{self.space.keyframes.cameras[0]}_rgb"]
        memory = image_context.remembered(lambda *of: self.networks.encode(params, *of), carry, seen, rgb, self.inferred)
        memory["z"] = image_context.inferred(memory, seen, None if noise is None else noise[:, self.disturbing :], self.inferred)
        return memory["z"], memory

    def look(self, params: Params, seen: Mapping[str, Any], z: NDArray[np.float32], noise: Noise) -> list[Looked]:
        """What N simulators are to do, and what of them is seen on the way there."""
        N, V, L = len(seen["obs"]), self.space.voxels, self.depths
        clouds = [self.rows.cloud(seen["fields"], i) for i in range(N)]
        disturbed = np.zeros(N, bool) if noise is None else disturbs(noise, self.explore)
        voxels, centres, heads = np.zeros((N, L, 3), np.int64), np.zeros((N, L - 1, 3), np.float32), np.zeros((N, 0), np.int64)
        found: list[list[Sparse]] = [[] for _ in range(N)]
        for depth in range(L):
            bounds = [self.space.bounds(depth, centres[i, depth - 1] if depth else np.zeros(3)) for i in range(N)]
            for i in range(N):
                found[i].append(voxelise(*clouds[i], bounds[i], V))
            best, heads = self.networks.best(params, depth, [own[-1] for own in found], seen["obs"], z)
            voxels[:, depth] = unflat(best, V)
            if noise is not None and disturbed.any():
                voxels[disturbed, depth] = moved(voxels[disturbed, depth], depth, V, noise[disturbed])
            for i in range(N if depth + 1 < L else 0):
                centres[i, depth] = self.space.next_centre(voxels[i, depth], bounds[i])
        if noise is not None and disturbed.any():
            heads[disturbed] = turned(heads[disturbed], self.heads, noise[disturbed, : self.disturbing])
        choices = [self._choice(voxels[i], centres[i], heads[i]) for i in range(N)]
        return [Looked(choices[i], found[i], self.rows.rgb(seen["fields"], i)) for i in range(N)]

    def _choice(self, voxels: NDArray[np.int64], centres: NDArray[np.float32], heads: NDArray[np.int64]) -> Choice:
        """From the voxels (L, 3), the cubes' middles (L - 1, 3) and the heads' choices (H,)."""
        keyframes = self.space.keyframes
        rotation, rest = (heads[:3], heads[3:]) if keyframes.rotation else (np.zeros(3, np.int64), heads)
        return Choice(voxels, centres, rotation, int(rest[0]), int(rest[1]) if keyframes.collisions else 0)


def of_part(params: Mapping[str, Any], part: object) -> dict[str, Any]:
    """One network's parameters, by their own names: those that begin with ``PART/``."""
    prefix = f"{part}/"
    return {name[len(prefix) :]: leaf for name, leaf in params.items() if name.startswith(prefix)}


def make(description: Mapping[str, Any]) -> C2FARM:
    """From ``algos.c2farm.C2FARM.remote``."""
    told, heads = description["keyframes"], description["heads"]
    sight = Sight(tuple(told["bounds"]), tuple(told["cameras"]), told["rotation"], told["collisions"])
    inferred = image_context.Config(**description["inferred"])
    space = Space(sight, description["voxels"], description["reach"], description["rotation_bins"])
    rows = LiveRows(space, description["room"], tuple(description["pixels"]), image=bool(inferred.latent))
    own = InNumpy(heads, description["voxels"], inferred)
    return C2FARM(rows, Networks(own.best, own.encode), heads, description["explore"], inferred)
