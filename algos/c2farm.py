"""C2F-ARM: Q-learning over voxels, coarse to fine, from cameras, demonstrations and sparse rewards. Also for many tasks (MT-C2F-ARM).

James et al. 2022, "Coarse-to-fine Q-attention: efficient learning for visual robotic manipulation via discretisation" (arXiv 2106.12534),
section 3; "ARM" (arXiv 2105.14829), section 4.2, for keyframes and the augmentation of demonstrations. Numbers are those of the authors'
code; equations are numbered in ``algos.lib.coarse_to_fine``. With ``inferred`` it is PEARL-C2F-ARM, and ``algos.reptile`` around it
makes Reptile-C2F-ARM: Mandi et al. 2022 (arXiv 2206.03271), section 4.
What differs, unless ``parity``: a demonstration's cubes lie around the middles of voxels, as an actor's do, not their corners; the error of
a depth counts once in a row's priority; targets are at most 1, the only reward there is.
Replay keeps the sparse grids in place of images: both are functions of what was seen and done, so nothing is lost.

Shapes: S seeds, T tasks of an update, B rows of each, N = T B, L depths, V voxels per axis, H heads, A action,
Z latent, C transitions of a context.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from algos.lib import grids, image_context, settings
from algos.lib.adam import AdamState, init_adam
from algos.lib.coarse_to_fine import Descent, Gradients, Regular, Rows, descend, gradients, greedy, priority, row_priority
from algos.lib.keyframe_rows import BINS, Augmentation, KeyframeRows, Looked
from algos.lib.next_best_pose import Space
from algos.lib.posterior import kl_to_prior, product_of_gaussians
from algos.lib.qattention import Params, Sizes, Values, arm_heads, init_qattention
from algos.lib.qattention_fast import fast
from algos.lib.seeds import in_turn
from algos.lib.transfer import Origin, check_same, copied
from algos.lib.voxels import LARGEST, Sparse
from core.contracts import Reduce, alone
from core.demos import Demo
from core.errors import ConfigError
from core.tree import stack_trees
from core.types import Batch, Field, Seen, Stream, TaskSpec
from outpost.policies import c2farm as acting
from outpost.policies.c2farm import ENCODER, of_part

KEPT = ("voxels", "reach", "channels", "rotation_bins", "inferred")
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
    """frames of a demonstration between two at which it is begun anew; only frames that were observed can be, usually every 10th"""
    demo_copies: int = 1
    """times that each of them is stored, each with cubes and shifts of its own"""
    jitter: float = 0.75
    """share of ``reach`` by which a demonstration's cubes lie beside the chosen voxels, at most, and always with those in them"""
    shift: float = 0.0
    """share of the workspace by which a demonstration is moved along each axis, at most; 0.125 in PerAct"""
    turn: int = 0
    """degrees by which it is turned about z, at most, in steps of 5; 45 in PerAct. Of grippers that can be turned"""
    timeouts: Literal["terminal", "bootstrap"] = "terminal"
    """an episode's time limit: an end as any other, since observations tell the time that is left; or values go on beyond it, as in the
    multi-task and meta-RL paper's code, whose observations do not"""
    explore: float = 0.0
    """chance that an action is disturbed while collecting; the authors' code never does"""
    room: int = 768
    """voxels of an observation, of all depths together, that replay keeps"""
    body: Literal["float32", "bfloat16"] = "float32"
    """in which updates compute all but the valuing layers; acting is always float32"""
    at_once: int = 16
    """rows of a batch that are in memory at once"""
    inferred: image_context.Config = field(default_factory=image_context.Config)
    """PEARL-C2F-ARM: what is inferred of a task from images, actions and rewards"""
    parity: bool = False
    """the quirks of the authors' code that are listed above"""

    def __post_init__(self) -> None:
        settings.positive(self, "channels", "rotation_bins", "batch_size", "n_step", "lr", "demo_every", "demo_copies", "room", "at_once")
        settings.positive_share(self, "gamma", "tau")
        names = ("tasks_per_batch", "weight_decay", "clip", "voxel_regulariser", "head_regulariser", "priority", "weight", "jitter")
        settings.not_negative(self, *names, "shift", "turn")
        settings.one_of(self, "body", tuple(BODIES))
        settings.one_of(self, "timeouts", ("terminal", "bootstrap"))
        for name in ("demos", "explore"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"algo.{name} is {getattr(self, name)}; it must be in [0, 1]")
        if any(metres <= 0 for metres in self.reach):
            raise ConfigError(f"algo.reach is {self.reach}; each must be positive")
        for name, most in (("voxels", LARGEST), ("rotation_bins", BINS)):
            if getattr(self, name) > most:
                raise ConfigError(f"algo.{name} is {getattr(self, name)}; it must be at most {most}")


class State(NamedTuple):
    """All mutable tensors of S learners; every leaf leads with [S]."""

    params: Params
    """``DEPTH/NAME`` of each depth's network, ``encoder/NAME`` of the task encoder if there is one"""
    target: Params
    """the same without encoder"""
    adam: AdamState
    updates: Tensor
    """[S] float32, updates done with this optimiser"""


class C2FARM:
    """See the module. Holds sizes and settings only; ``init`` makes the state."""

    whole_graph = False
    """parts of a batch are left out by what is in them, and convolutions gain nothing from a graph"""

    def __init__(self, config: Config, spec: TaskSpec, tasks: int) -> None:
        if spec.keyframes is None:
            raise ConfigError(f"c2farm acts by next-best poses and sees by cameras, {spec.task} does not: try metaworld_vision:reach-v3")
        self.config, self.keyframes, self.action_dim, self.latent = config, spec.keyframes, spec.action_dim, config.inferred.latent
        self.space = Space(spec.keyframes, config.voxels, config.reach, config.rotation_bins, corner=config.parity)
        augmentation = Augmentation(config.demo_every, config.demo_copies, config.jitter, config.shift, config.turn)
        self.keeps = KeyframeRows(spec, self.space, config.room, augmentation, image=bool(self.latent))
        self.depths = self.space.depths
        heads = arm_heads(rotation_bins=config.rotation_bins * spec.keyframes.rotation, collision=2 * spec.keyframes.collisions)
        self.sizes = [self._sizes(spec.obs_dim, heads if depth == self.depths - 1 else (), depth) for depth in range(self.depths)]
        networks = acting.Networks(self._best, self._encoded)
        self.acting = acting.C2FARM(self.keeps, networks, heads, config.explore, config.inferred)
        self.disturbing, self.noise_dim = self.acting.disturbing, self.acting.noise_dim
        self.drawn = config.tasks_per_batch if config.tasks_per_batch < tasks else 0
        self.tasks = self.drawn or tasks
        """T"""

    @property
    def plan(self) -> Stream:
        config, inferred = self.config, self.config.inferred
        context = {"context": inferred.context, "recent": inferred.recent, "trial": inferred.trial} if self.latent else {}
        weight = config.weight if config.priority else 0.0
        drawn = {"tasks": self.drawn, "demos": config.demos, "priority": config.priority, "weight": weight}
        return Stream(config.batch_size, config.n_step, config.gamma, timeouts=config.timeouts, **drawn, **context)

    def _sizes(self, low_dim: int, heads: tuple[int, ...], depth: int) -> Sizes:
        config = self.config
        told = self.latent if depth == 0 or config.inferred.told == "all" else 0
        return Sizes(low_dim, heads, told, config.voxels, config.channels, inner=config.channels // 2)

    def encoded(self) -> tuple[Field, ...]:
        return tuple(Field(*column) for column in self.keeps.encoded())

    def fields(self) -> tuple[Field, ...]:
        return tuple(Field(*column) for column in self.keeps.fields())

    def encode_demo(self, demo: Demo, rng: np.random.Generator) -> list[dict[str, NDArray]]:
        """See ``core.abilities.Encoding``."""
        return self.keeps.of_demo(demo, rng)

    def init(self, seeds: Sequence[int]) -> State:
        return stack_trees([self._init_one(seed) for seed in seeds])

    def _init_one(self, seed: int) -> State:
        generator, params = torch.Generator().manual_seed(seed), Params()
        for depth, sizes in enumerate(self.sizes):
            params |= named(depth, init_qattention(sizes, generator))
        target = copied(params)
        if self.latent:
            pixels = (self.keeps.pixels[0], self.keeps.pixels[1])
            params |= named(ENCODER, image_context.init_encoder(pixels, self.action_dim, self.latent, generator))
        return State(params, target, init_adam(params), torch.zeros(()))

    def begin_from(self, state: State, source: Any, old: State, origin: Origin, *, policy_only: bool) -> State:
        """See ``core.abilities.Transferring``. No network is told its task, so that a new one begins as the old ones did."""
        check_same(self.config, source.config, KEPT)
        target = {name: old.params[name] for name in old.target} if policy_only else old.target
        return state._replace(params=copied(old.params), target=copied(target))

    # ---- acting (one seed) --------------------------------------------------------------------------------------------

    def policy(self, state: State) -> dict[str, Tensor]:
        return state.params

    def act(
        self, params: Mapping[str, NDArray], carry: Any, seen: Seen, noise: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], Any, dict[str, NDArray]]:
        """Actions (N, A): the best voxel of each depth in turn, and the best of each head, now and then disturbed."""
        return self.acting.act(params, carry, seen._asdict(), noise)

    def encode(self, params: Mapping[str, NDArray], seen: Seen) -> dict[str, NDArray]:
        """See ``core.abilities.Encoding``."""
        return self.acting.encode(params, seen._asdict())

    def remote(self) -> dict[str, Any]:
        """See ``core.abilities.Remote``."""
        config, own, inferred = self.config, self.keyframes, self.config.inferred
        sight = {"bounds": list(own.bounds), "cameras": list(own.cameras), "rotation": own.rotation, "collisions": own.collisions}
        return {
            "name": "c2farm",
            "keyframes": sight,
            "pixels": list(self.keeps.pixels),
            "voxels": config.voxels,
            "reach": list(config.reach),
            "rotation_bins": config.rotation_bins,
            "heads": list(self.sizes[-1].heads),
            "room": config.room,
            "explore": config.explore,
            "inferred": {name: getattr(inferred, name) for name in ("latent", "context", "recent", "output", "reward_scale")},
        }

    def recall(self, params: Mapping[str, NDArray], demos: Sequence[Demo]) -> dict[str, NDArray]:
        """See ``core.abilities.Recalling``."""
        rgb, action, reward = (np.concatenate(column) for column in zip(*map(self.keeps.shown, demos), strict=True))
        return image_context.recalled(of_part(params, ENCODER), rgb, action, reward, self.config.inferred)

    def look(self, params: Mapping[str, NDArray], seen: Seen, z: NDArray[np.float32], noise: NDArray[np.float32] | None) -> list[Looked]:
        """What N simulators are to do, and what of them is seen on the way there."""
        return self.acting.look(params, seen._asdict(), z, noise)

    def _best(
        self, params: Mapping[str, NDArray], depth: int, seen: Sequence[Sparse], obs: NDArray, z: NDArray
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """See ``outpost.policies.c2farm.Networks``."""
        voxel, choice = greedy(self._values(params, depth, seen, obs, z), self.sizes[depth].heads)
        return voxel.numpy(), choice.numpy()

    def _encoded(self, params: Mapping[str, NDArray], rgb: NDArray, action: NDArray, reward: NDArray) -> tuple[NDArray, NDArray]:
        """See ``outpost.policies.c2farm.Networks``."""
        return image_context.encoded(of_part(params, ENCODER), rgb, action, reward, self.config.inferred)

    @torch.no_grad()
    def _values(self, params: Mapping[str, NDArray], depth: int, seen: Sequence[Sparse], obs: NDArray, z: NDArray) -> Values:
        """Q of N grids, a few at a time."""
        network = {name: torch.from_numpy(np.asarray(leaf)) for name, leaf in of_part(params, depth).items()}
        low_dim, latent = (torch.from_numpy(np.ascontiguousarray(part)) for part in (obs, z[:, : self.sizes[depth].latent]))
        parts = []
        for first in range(0, len(seen), self.config.at_once):
            some = slice(first, first + self.config.at_once)
            parts.append(_network(network, grids.together(seen[some], self.config.voxels), low_dim[some], latent[some], self.sizes[depth]))
        return Values(*(torch.cat(values) for values in zip(*parts, strict=True)))

    # ---- the update ---------------------------------------------------------------------------------------------------

    def noise(self, state: State, generators: Sequence[torch.Generator]) -> Tensor:
        """(S, T, Z) standard normal: which z of its posterior each task gets."""
        return torch.stack([torch.randn(self.tasks, self.latent, generator=g, device=g.device) for g in generators])

    def update_one(self, state: State, batch: Batch, noise: Tensor, reduce: Reduce = alone) -> tuple[State, dict[str, Tensor]]:
        """One update of one seed: the z of each task, then each depth's loss, gradient, Adam and target, then the encoder's."""
        count, parts, told, errors = state.updates + 1, list[State](), dict[str, Tensor](), list[Tensor]()
        encoder = {name: leaf.detach().requires_grad_() for name, leaf in of_part(state.params, ENCODER).items()}
        z, divergence = self.posterior(encoder, batch, noise)
        slope = torch.zeros_like(z)
        for depth in range(self.depths):
            found = self._gradients(state, batch, depth, z.detach())
            parts.append(self._descended(state, depth, found.params, count, reduce))
            told |= {f"{name}_{depth}": value for name, value in found.metrics.items()}
            errors.append(priority(found.error))
            slope[:, : found.latent.shape[1]] += found.latent.unflatten(0, batch.reward.shape).sum(1)
        if self.latent:
            cost = (z * slope).sum() + self.config.inferred.kl_weight * divergence
            grads = dict(zip(encoder, torch.autograd.grad(cost, list(encoder.values())), strict=True))
            parts.append(self._descended(state, ENCODER, grads, count, reduce))
            told["divergence"] = divergence.detach()
        assert isinstance(batch.here, dict)  # the columns of ``encoded`` and ``fields``
        told["voxels_missing"] = batch.here["voxel_missing"].float().mean()
        told = reduce(told) | {"priority": row_priority(errors, parity=self.config.parity).reshape(batch.reward.shape)}
        params, target, m, v = ({name: leaf for tree in trees for name, leaf in tree.items()} for trees in _four(parts))
        return State(params, {name: target[name] for name in state.target}, AdamState(m, v), count), told

    def posterior(self, encoder: Params, batch: Batch, noise: Tensor) -> tuple[Tensor, Tensor]:
        """z (T, Z), and the divergence of the posteriors from the prior, nats, summed over tasks or their mean."""
        if not self.latent:
            return noise, noise.sum()
        assert isinstance(batch.context_here, dict)
        rgb, action, reward = (batch.context_here[name].flatten(0, 1) for name in ("context_rgb", "action", "reward"))
        each = image_context.encode(encoder, rgb, action, reward, self.config.inferred)
        mean, variance = (part.unflatten(0, (self.tasks, -1)) for part in each)
        mean, variance = product_of_gaussians(mean, variance)
        divergence = kl_to_prior(mean, variance)
        return mean + variance.sqrt() * noise, divergence.sum() if self.config.inferred.kl == "sum" else divergence.mean()

    def _gradients(self, state: State, batch: Batch, depth: int, z: Tensor) -> Gradients:
        config, sizes = self.config, self.sizes[depth]
        return gradients(
            of_part(state.params, depth),
            of_part(state.target, depth),
            self.rows(batch, depth, z[:, : sizes.latent]),
            partial(_network, sizes=sizes, body=BODIES[config.body]),
            sizes.heads,
            regular=Regular(config.voxel_regulariser, config.head_regulariser),
            at_once=config.at_once,
            parity=config.parity,
        )

    def _descended(self, state: State, part: object, grads: Params, count: Tensor, reduce: Reduce) -> State:
        """One step of one network's parameters and, where it has one, of its target."""
        config, own = self.config, of_part(state.params, part)
        how = Descent(config.lr, config.clip, config.weight_decay, config.tau)
        moments = AdamState(of_part(state.adam.m, part), of_part(state.adam.v, part))
        params, target, moments = descend(own, of_part(state.target, part), moments, count, reduce(grads), how)
        return State(named(part, params), named(part, target), AdamState(named(part, moments.m), named(part, moments.v)), count)

    def rows(self, batch: Batch, depth: int, z: Tensor) -> Rows:
        """The batch (T, B, ...) as one depth sees it, (N, ...)."""
        assert isinstance(batch.here, dict) and isinstance(batch.there, dict)  # the columns of ``encoded`` and ``fields``
        here, there = ({name: value.flatten(0, 1) for name, value in side.items()} for side in (batch.here, batch.there))
        obs, next_obs, reward, discount = (x.flatten(0, 1) for x in (batch.obs, batch.next_obs, batch.reward, batch.bootstrap))
        weight = torch.ones_like(reward) if isinstance(batch.weight, tuple) else batch.weight.flatten(0, 1)
        there["voxel_count"] = there["voxel_count"].long() * (discount[:, None] != 0)  # behind an end there may be anything, and no grid
        choice = torch.cat([here[field.name].long().reshape(len(reward), -1) for field in self.fields()[1:]], 1)
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
            latent=z.repeat_interleave(batch.reward.shape[1], 0),
        )

    def update(self, state: State, batch: Batch, noise: Tensor, reduce: Reduce = alone) -> dict[str, Tensor]:
        """Updates the S learners in place; batch (S, T, B, ...). Returns metrics [S], and ``priority`` (S, T, B)."""
        return in_turn(partial(self.update_one, reduce=reduce), state, batch, noise)


def named(part: object, params: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of ``of_part``."""
    return {f"{part}/{name}": leaf for name, leaf in params.items()}


def _four(parts: Sequence[State]) -> tuple[list[Params], ...]:
    """Parameters, targets and both moments of each part."""
    whole = [(part.params, part.target, part.adam.m, part.adam.v) for part in parts]
    return tuple(list(trees) for trees in zip(*whole, strict=True))


def _network(
    params: Mapping[str, Tensor], grid: Tensor, low_dim: Tensor, latent: Tensor, sizes: Sizes, body: torch.dtype | None = None
) -> Values:
    return fast(params, grid, low_dim, sizes, latent if sizes.latent else None, body=body)


def make(config: Config, spec: TaskSpec, tasks: int, simulators: int = 1) -> C2FARM:
    """The algorithm for ``tasks`` tasks of one spec, whatever the number of simulators of each."""
    return C2FARM(config, spec, tasks)
