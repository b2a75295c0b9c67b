"""C2F-ARM: Q-learning over voxels, coarse to fine, from cameras, demonstrations and sparse rewards. Also for many tasks (MT-C2F-ARM).

James et al. 2022, "Coarse-to-fine Q-attention: efficient learning for visual robotic manipulation via discretisation" (arXiv 2106.12534),
section 3; "ARM" (arXiv 2105.14829), section 4.2, for keyframes and the augmentation of demonstrations. Numbers are those of the authors'
code; equations are numbered in ``algos.lib.coarse_to_fine``. Around it, ``algos.reptile`` makes Reptile-C2F-ARM.
What differs, unless ``parity``: a demonstration's cubes lie around the middles of voxels, as an actor's do, not their corners; the error of a
depth counts once in a row's priority; targets are at most 1, the only reward there is; an episode that was cut is bootstrapped through.
Replay keeps the sparse grids in place of images: both are functions of what was seen and done, so nothing is lost.

Shapes: S seeds, T tasks of an update, B rows of each, N = T B, L depths, V voxels per axis, H heads, A action.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from algos.lib import grids, settings
from algos.lib.adam import AdamState, init_adam
from algos.lib.beside import Beside
from algos.lib.coarse_to_fine import Descent, Regular, Rows, descend, gradients, greedy, priority, row_priority
from algos.lib.exploration import disturbs, moved, noise_dim, turned
from algos.lib.next_best_pose import Choice, Space
from algos.lib.qattention import Params, Sizes, Values, arm_heads, init_qattention
from algos.lib.qattention_fast import fast
from algos.lib.seeds import in_turn
from algos.lib.transfer import Origin, check_same, copied
from algos.lib.voxels import Sparse, cloud, flat, unflat, voxelise
from core.contracts import Reduce, alone
from core.demos import Chain, Demo, chains
from core.errors import ConfigError
from core.poses import action_of, target_of, time_left
from core.tree import stack_trees
from core.types import Batch, Field, Seen, Stream, TaskSpec

KEPT = ("voxels", "reach", "channels", "rotation_bins")
"""settings that a run shares with the one it begins from: they decide what its networks are"""
BODIES = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Config:
    """Hyper-parameters of C2F-ARM."""

    voxels: int = 16
    """V, per axis of each depth's grid"""
    reach: tuple[float, ...] = (0.15,)
    """metres, half the side of the cube that each depth after the first sees; none: one depth"""
    channels: int = 64
    """of the networks' finest level"""
    rotation_bins: int = 72
    """of each Euler angle, where the gripper can be turned"""
    batch_size: int = 128
    """rows per task and update"""
    tasks_per_batch: int = 0
    """tasks drawn anew for each update; 0: all"""
    gamma: float = 0.99
    """discount per keyframe"""
    n_step: int = 1
    """keyframes folded into one transition"""
    lr: float = 5e-4
    """Adam step size"""
    weight_decay: float = 1e-6
    """times a parameter, added to its gradient"""
    clip: float = 0.01
    """largest gradient of a parameter; 0: any"""
    tau: float = 0.0025
    """share of a network that moves into its target with every update"""
    voxel_regulariser: float = 1.0
    """weight of the mean absolute Q of voxels"""
    head_regulariser: float = 1.0
    """weight of the mean absolute Q of rotation, gripper and collision"""
    priority: float = 0.7
    """exponent of a row's error in its chance of being drawn; 0: all rows alike"""
    weight: float = 0.5
    """exponent of 1 / chance in a row's weight"""
    demos: float = 0.0
    """share of each task's rows that is drawn from demonstrations; 0: those are rows like others"""
    demo_every: int = 10
    """frames of a demonstration between two at which it is begun anew"""
    demo_copies: int = 1
    """times that each of them is stored, each with cubes and shifts of its own"""
    jitter: float = 0.75
    """share of ``reach`` by which a demonstration's cubes lie beside the chosen voxels, at most"""
    shift: float = 0.0
    """share of the workspace by which a demonstration is moved along each axis, at most; 0.125 in PerAct"""
    turn: int = 0
    """degrees by which it is turned about z, at most, in steps of 5; 45 in PerAct. Of grippers that can be turned"""
    explore: float = 0.0
    """chance that an action is disturbed while collecting; the authors' code never does"""
    room: int = 768
    """voxels of an observation, of all depths together, that replay keeps"""
    body: Literal["float32", "bfloat16"] = "float32"
    """in which updates compute all but the valuing layers; acting is always float32"""
    at_once: int = 16
    """rows of a batch that are in memory at once"""
    parity: bool = False
    """the quirks of the authors' code that are listed above"""

    def __post_init__(self) -> None:
        settings.positive(self, "channels", "rotation_bins", "batch_size", "n_step", "lr", "demo_every", "demo_copies", "room", "at_once")
        settings.positive_share(self, "gamma", "tau")
        names = ("tasks_per_batch", "weight_decay", "clip", "voxel_regulariser", "head_regulariser", "priority", "weight", "jitter")
        settings.not_negative(self, *names, "shift", "turn")
        settings.one_of(self, "body", tuple(BODIES))
        for name in ("demos", "explore"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"algo.{name} is {getattr(self, name)}; it must be in [0, 1]")
        if any(metres <= 0 for metres in self.reach):
            raise ConfigError(f"algo.reach is {self.reach}; each must be positive")
        if self.voxels > 40:
            raise ConfigError(f"algo.voxels is {self.voxels}; it must be at most 40")


class State(NamedTuple):
    """All mutable tensors of S learners; every leaf leads with [S]."""

    params: Params
    """``DEPTH/NAME`` of each depth's network"""
    target: Params
    adam: AdamState
    updates: Tensor
    """[S] float32, updates done with this optimiser"""


class Looked(NamedTuple):
    """What one simulator's observation came to."""

    choice: Choice
    grids: list[Sparse]
    """of each depth"""


class C2FARM:
    """See the module. Holds sizes and settings only; ``init`` makes the state."""

    whole_graph = False
    """parts of a batch are left out by what is in them, and convolutions gain nothing from a graph"""

    def __init__(self, config: Config, spec: TaskSpec, tasks: int) -> None:
        if spec.keyframes is None:
            raise ConfigError(f"c2farm acts by next-best poses and sees by cameras, {spec.task} does not: try metaworld_vision:reach-v3")
        self.config, self.spec, self.keyframes = config, spec, spec.keyframes
        self.space = Space(spec.keyframes, config.voxels, config.reach, config.rotation_bins, corner=config.parity)
        self.depths = self.space.depths
        heads = arm_heads(rotation_bins=config.rotation_bins * spec.keyframes.rotation, collision=2 * spec.keyframes.collisions)
        self.sizes = [
            Sizes(spec.obs_dim, heads if depth == self.depths - 1 else (), voxels=config.voxels, channels=config.channels)
            for depth in range(self.depths)
        ]
        self.noise_dim = noise_dim(self.depths, len(heads))
        drawn = config.tasks_per_batch if config.tasks_per_batch < tasks else 0
        self.plan = Stream(
            config.batch_size,
            config.n_step,
            config.gamma,
            tasks=drawn,
            demos=config.demos,
            priority=config.priority,
            weight=config.weight if config.priority else 0.0,
        )

    def encoded(self) -> tuple[Field, ...]:
        """Grids, and the middles (L - 1, 3) of the cubes that all depths but the first saw."""
        return (*grids.columns(self.config.room, self.depths), Field("centre", (self.depths - 1, 3), "float32", "metres"))

    def fields(self) -> tuple[Field, ...]:
        """What was chosen."""
        heads = [Field("rotation", (3,), "uint8")] * self.keyframes.rotation + [Field("grip", (), "uint8")]
        heads += [Field("collide", (), "uint8")] * self.keyframes.collisions
        return (Field("voxel", (self.depths,), "uint16"), *heads)

    def init(self, seeds: Sequence[int]) -> State:
        return stack_trees([self._init_one(seed) for seed in seeds])

    def _init_one(self, seed: int) -> State:
        generator, params = torch.Generator().manual_seed(seed), Params()
        for depth, sizes in enumerate(self.sizes):
            params |= {f"{depth}/{name}": leaf for name, leaf in init_qattention(sizes, generator).items()}
        return State(params, copied(params), init_adam(params), torch.zeros(()))

    def begin_from(self, state: State, source: Any, old: State, origin: Origin, *, policy_only: bool) -> State:
        """See ``core.contracts.Transferring``. No network is told its task, so that a new one begins as the old ones did."""
        check_same(self.config, source.config, KEPT)
        return state._replace(params=copied(old.params), target=copied(old.params if policy_only else old.target))

    # ---- acting (one seed) --------------------------------------------------------------------------------------------

    def policy(self, state: State) -> dict[str, Tensor]:
        return state.params

    def act(
        self, params: Mapping[str, NDArray], carry: Any, seen: Seen, noise: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], Any, dict[str, NDArray]]:
        """Actions (N, A): the best voxel of each depth in turn, and the best of each head, now and then disturbed."""
        looked = self.look(params, seen, noise)
        columns = grids.stacked([{**self._encoding(one), **self._labels(one.choice)} for one in looked])
        return np.stack([self.space.action(one.choice) for one in looked]), carry, columns

    def encode(self, params: Mapping[str, NDArray], seen: Seen) -> dict[str, NDArray]:
        """See ``core.contracts.Encoding``: the cubes of an observation on which nobody acts are where one would have acted."""
        return grids.stacked([self._encoding(one) for one in self.look(params, seen, None)])

    def look(self, params: Mapping[str, NDArray], seen: Seen, noise: NDArray[np.float32] | None) -> list[Looked]:
        """What N simulators are to do, and what of them is seen on the way there."""
        N, V, L = len(seen.obs), self.config.voxels, self.depths
        low_dim, clouds = torch.from_numpy(np.ascontiguousarray(seen.obs)), [self._cloud(seen.fields, i) for i in range(N)]
        disturbed = np.zeros(N, bool) if noise is None else disturbs(noise, self.config.explore)
        voxels, centres, heads = np.zeros((N, L, 3), np.int64), np.zeros((N, L - 1, 3), np.float32), np.zeros((N, 0), np.int64)
        found: list[list[Sparse]] = [[] for _ in range(N)]
        for depth in range(L):
            bounds = [self.space.bounds(depth, centres[i, depth - 1] if depth else np.zeros(3)) for i in range(N)]
            for i in range(N):
                found[i].append(voxelise(*clouds[i], bounds[i], V))
            best, choice = greedy(self._values(params, depth, [own[-1] for own in found], low_dim), self.sizes[depth].heads)
            voxels[:, depth], heads = unflat(best.numpy(), V), choice.numpy()
            if noise is not None and disturbed.any():
                voxels[disturbed, depth] = moved(voxels[disturbed, depth], depth, V, noise[disturbed])
            for i in range(N if depth + 1 < L else 0):
                centres[i, depth] = self.space.next_centre(voxels[i, depth], bounds[i])
        if noise is not None and disturbed.any():
            heads[disturbed] = turned(heads[disturbed], self.sizes[-1].heads, noise[disturbed])
        return [Looked(self._choice(voxels[i], centres[i], heads[i]), found[i]) for i in range(N)]

    @torch.no_grad()
    def _values(self, params: Mapping[str, NDArray], depth: int, seen: Sequence[Sparse], low_dim: Tensor) -> Values:
        """Q of N grids, a few at a time."""
        network = {name: torch.from_numpy(np.asarray(leaf)) for name, leaf in of_depth(params, depth).items()}
        parts = []
        for first in range(0, len(seen), self.config.at_once):
            chosen = slice(first, first + self.config.at_once)
            parts.append(fast(network, grids.together(seen[chosen], self.config.voxels), low_dim[chosen], self.sizes[depth]))
        return Values(*(torch.cat(values) for values in zip(*parts, strict=True)))

    def _cloud(self, fields: Mapping[str, NDArray], i: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Points and colours (n, 3) that all cameras of observation ``i`` show."""
        told = [[fields[f"{name}_{part}"][i] for part in ("depth", "intrinsics", "extrinsics")] for name in self.keyframes.cameras]
        colours = [fields[f"{name}_rgb"][i].reshape(-1, 3) for name in self.keyframes.cameras]
        return np.concatenate([cloud(*parts) for parts in told]), np.concatenate(colours)

    def _choice(self, voxels: NDArray[np.int64], centres: NDArray[np.float32], heads: NDArray[np.int64]) -> Choice:
        """From the voxels (L, 3), the cubes' middles (L - 1, 3) and the heads' choices (H,)."""
        rotation, rest = (heads[:3], heads[3:]) if self.keyframes.rotation else (np.zeros(3, np.int64), heads)
        return Choice(voxels, centres, rotation, int(rest[0]), int(rest[1]) if self.keyframes.collisions else 0)

    # ---- columns of replay --------------------------------------------------------------------------------------------

    def _encoding(self, looked: Looked) -> dict[str, NDArray]:
        return {**grids.pack(looked.grids, self.config.room), "centre": looked.choice.centre}

    def _labels(self, choice: Choice) -> dict[str, NDArray]:
        told = {"rotation": choice.rotation, "grip": np.array(choice.grip), "collide": np.array(choice.collide)}
        kept = {field.name: told[field.name] for field in self.fields()[1:]}
        return {"voxel": flat(choice.translation, self.config.voxels), **kept}

    def encode_demo(self, demo: Demo, rng: np.random.Generator) -> list[dict[str, NDArray]]:
        """See ``core.contracts.Encoding``; each chain ``demo_copies`` times."""
        found = chains(demo, self.config.demo_every)
        return [self._chain(demo, chain, rng) for _ in range(self.config.demo_copies) for chain in found]

    def _chain(self, demo: Demo, chain: Chain, rng: np.random.Generator) -> dict[str, NDArray]:
        """The columns of a chain of n transitions, as if the scene were a little beside where it was."""
        beside = Beside.drawn(rng, self.space.bounds(0, np.zeros(3)), self.config.shift, self.config.turn if self.keyframes.rotation else 0)
        looked = [self._demonstrated(demo, chain, step, beside, rng) for step in range(len(chain.reward))]
        closing = {field.name: np.zeros(field.shape, field.dtype) for field in self.encoded()}  # terminal: nobody looks at it
        obs = demo.observations["obs"][chain.at].astype(np.float32)
        obs[:, -1] = [time_left(step, self.spec.horizon) for step in range(len(obs))]
        return {
            **grids.stacked([*(self._encoding(one) for one in looked), closing]),
            **grids.stacked([self._labels(one.choice) for one in looked]),
            "obs": obs,
            "action": np.stack([self.space.action(one.choice) for one in looked]),
            "reward": chain.reward,
            "terminated": chain.terminated,
        }

    def _demonstrated(self, demo: Demo, chain: Chain, step: int, beside: Beside, rng: np.random.Generator) -> Looked:
        """What would have been seen by one who does what was done."""
        action = action_of(self.keyframes, chain.poses[step], chain.opened[step]) if chain.actions is None else chain.actions[step]
        shifts = rng.uniform(-1, 1, (self.depths - 1, 3)) * self.config.jitter * np.reshape(self.config.reach, (-1, 1))
        choice = self.space.choice(beside.target(target_of(self.keyframes, action)), shifts)
        points, colours = self._cloud(demo.observations, int(chain.at[step]))
        middles, moved_points = [np.zeros(3), *choice.centre], beside.points(points)
        seen = [voxelise(moved_points, colours, self.space.bounds(d, middles[d]), self.config.voxels) for d in range(self.depths)]
        return Looked(choice, seen)

    # ---- the update ---------------------------------------------------------------------------------------------------

    def noise(self, state: State, generators: Sequence[torch.Generator]) -> Tensor:
        """None is needed: (S, 0)."""
        return torch.zeros(len(generators), 0, device=generators[0].device)

    def update_one(self, state: State, batch: Batch, noise: Tensor, reduce: Reduce = alone) -> tuple[State, dict[str, Tensor]]:
        """One update of one seed: each depth's loss, gradient, Adam and target in turn."""
        config, count, lead = self.config, state.updates + 1, batch.reward.shape
        params, target, m, v = {}, {}, {}, {}
        told, errors = {}, []
        for depth, sizes in enumerate(self.sizes):
            network = partial(_network, sizes=sizes, body=BODIES[config.body])
            own, old = of_depth(state.params, depth), of_depth(state.target, depth)
            regular = Regular(config.voxel_regulariser, config.head_regulariser)
            found = gradients(
                own, old, self.rows(batch, depth), network, sizes.heads, regular=regular, at_once=config.at_once, parity=config.parity
            )
            moments = AdamState(of_depth(state.adam.m, depth), of_depth(state.adam.v, depth))
            how = Descent(config.lr, config.clip, config.weight_decay, config.tau)
            own, old, moments = descend(own, old, moments, count, reduce(found.params), how)
            for whole, part in ((params, own), (target, old), (m, moments.m), (v, moments.v)):
                whole |= {f"{depth}/{name}": leaf for name, leaf in part.items()}
            told |= {f"{name}_{depth}": value for name, value in found.metrics.items()}
            errors.append(priority(found.error))
        told["voxels_missing"] = batch.here["voxel_missing"].float().mean()  # type: ignore[call-overload]
        told = reduce(told)
        told["priority"] = row_priority(errors, 1.0, parity=config.parity).reshape(lead)
        return State(params, target, AdamState(m, v), count), told

    def rows(self, batch: Batch, depth: int) -> Rows:
        """The batch (T, B, ...) as one depth sees it, (N, ...)."""
        assert isinstance(batch.here, dict) and isinstance(batch.there, dict)  # the columns of ``encoded`` and ``fields``
        here, there = ({name: value.flatten(0, 1) for name, value in side.items()} for side in (batch.here, batch.there))
        obs, next_obs, reward, discount = (x.flatten(0, 1) for x in (batch.obs, batch.next_obs, batch.reward, batch.bootstrap))
        weight = torch.ones_like(reward) if isinstance(batch.weight, tuple) else batch.weight.flatten(0, 1)
        heads = (
            [here["rotation"]] * self.keyframes.rotation + [here["grip"][:, None]] + [here["collide"][:, None]] * self.keyframes.collisions
        )
        choice = torch.cat([head.long() for head in heads], 1)
        V, last = self.config.voxels, depth == self.depths - 1
        return Rows(
            grid=grids.unpack(here, depth, V),
            low_dim=obs,
            voxel=here["voxel"][:, depth].long(),
            choice=choice if last else choice[:, :0],
            reward=reward,
            discount=discount,
            next_grid=grids.unpack(there, depth, V),
            next_low_dim=next_obs,
            weight=weight,
            latent=obs[:, :0],
        )

    def update(self, state: State, batch: Batch, noise: Tensor, reduce: Reduce = alone) -> dict[str, Tensor]:
        """Updates the S learners in place; batch (S, T, B, ...). Returns metrics [S], and ``priority`` (S, T, B)."""
        return in_turn(partial(self.update_one, reduce=reduce), state, batch, noise)


def of_depth(params: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """One network's parameters, by their own names."""
    prefix = f"{depth}/"
    return {name.removeprefix(prefix): leaf for name, leaf in params.items() if name.startswith(prefix)}


def _network(
    params: Mapping[str, Tensor], grid: Tensor, low_dim: Tensor, latent: Tensor, *, sizes: Sizes, body: torch.dtype | None
) -> Values:
    return fast(params, grid, low_dim, sizes, latent if sizes.latent else None, body=body)


def make(config: Config, spec: TaskSpec, tasks: int, simulators: int = 1) -> C2FARM:
    """The algorithm for ``tasks`` tasks of one spec, whatever the number of simulators of each."""
    return C2FARM(config, spec, tasks)
