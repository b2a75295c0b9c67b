"""Two sides play the same episodes of blocks: the algorithm, as an actor of the cluster, and the policy that its description builds."""

import json
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

import simulators
from core.abilities import Encoding
from core.seen import Watch
from core.tree import map_tree
from core.types import Batch, Seen
from outpost import policies


def policy_of(algorithm: Any) -> Any:
    """From its description, as it arrives: msgpack and JSON carry the same."""
    told = json.loads(json.dumps(algorithm.remote()))
    return policies.find(told["name"]).make(told)


def weights(algorithm: Any, table: "Table", updates: int = 0, dtype: str = "float32") -> dict[str, np.ndarray]:
    """What an actor gets of an initialised network, or of one that has learned from a few batches of what simulators show at first."""
    state = algorithm.init([0])
    for number in range(updates):
        noise = algorithm.noise(state, [torch.Generator().manual_seed(number)])
        algorithm.update(state, a_batch(algorithm, table, number), noise)
    return {name: leaf[0].numpy().astype(dtype) for name, leaf in algorithm.policy(state).items()}


def a_batch(algorithm: Any, table: "Table", number: int) -> Batch:
    """(1, T, B, ...) of first observations, acted on by the untrained policy."""
    plan, draw = algorithm.plan, np.random.default_rng(number)
    lead = (1, plan.tasks or algorithm.tasks, plan.batch_size)
    N = lead[1] * lead[2]
    shown = table.stacked([table.own[0].reset(1000 + number * N + i) for i in range(N)])
    begun, A = np.ones(N, bool), algorithm.action_dim
    seen = Seen(shown["obs"], np.zeros(N, int), np.arange(N), begun, begun, np.zeros((N, A), "f4"), np.zeros(N, "f4"), shown)
    own, drawn = weights(algorithm, table), draw.standard_normal((N, algorithm.noise_dim)).astype(np.float32)
    action, _, kept = algorithm.act(own, None, seen, drawn)
    whole = {"obs": shown["obs"], "action": action, "reward": draw.random(N).astype("f4"), **kept}
    of = {name: torch.from_numpy(value).reshape(*lead, *value.shape[1:]) for name, value in whole.items()}
    plain = Batch(of["obs"], of["action"], of["reward"], of["obs"], torch.full(lead, plan.gamma), here=of, there=dict(of))
    context = {name: value[:, :, : plan.context] for name, value in of.items()}
    return plain._replace(context_here=context) if plan.context else plain


class Table:
    """N blocks simulators, stepped in lockstep; each begins its next episode by itself."""

    def __init__(self, tasks: tuple[str, ...], **options: Any) -> None:
        self.own = [simulators.make(f"blocks:{task}", i, size=24, **options) for i, task in enumerate(tasks)]
        self.spec, self.variations = self.own[0].spec, [0] * len(tasks)
        self.shown = self.stacked([one.reset(0) for one in self.own])

    @staticmethod
    def stacked(shown: list[Any]) -> dict[str, np.ndarray]:
        return {name: np.stack([one[name] for one in shown]) for name in shown[0]}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Rewards, which episodes ended, and what closed the steps."""
        done = [one.step(action) for one, action in zip(self.own, actions, strict=True)]
        ended = np.array([step.terminated or step.truncated for step in done])
        self.variations = [number + int(end) for number, end in zip(self.variations, ended, strict=True)]
        begun = [one.reset(n) if end else step.obs for one, n, end, step in zip(self.own, self.variations, ended, done, strict=True)]
        self.shown = self.stacked(begun)
        return np.array([step.reward for step in done], np.float32), ended, self.stacked([dict(step.obs) for step in done])


class Sides(NamedTuple):
    """Of one env step."""

    here: tuple[np.ndarray, Any, dict[str, np.ndarray]]
    """what the algorithm's ``act`` returned"""
    there: tuple[np.ndarray, Any, dict[str, np.ndarray]]
    """what the policy's did"""
    closing: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
    """the columns of what closed the step"""
    seen: Any
    ended: np.ndarray


def play(
    algorithm: Any, table: Table, own: Any, steps: int, *, explore: bool = True, trial: int = 0, dtype: str = "float32"
) -> list[Sides]:
    """Env steps by the algorithm's actions; both sides are told the same, and each its own memory."""
    policy, N = policy_of(algorithm), len(table.own)
    watch, draw, carry = Watch(np.arange(N), table.spec.action_dim, trial=trial), np.random.default_rng(5), (None, None)
    watch.action, watch.reward = watch.action.astype(dtype), watch.reward.astype(dtype)
    played = []
    for _ in range(steps):
        noise = draw.standard_normal((N, algorithm.noise_dim), dtype=np.float32) if explore else None
        seen = map_tree(np.copy, watch.seen(table.shown))
        here = algorithm.act(own, carry[0], seen, noise)
        there = policy.act(own, carry[1], seen._asdict(), noise)
        carry = here[1], there[1]
        watch.acted(here[0])
        reward, ended, closing = table.step(here[0])
        watch.stepped(reward, ended)
        last = seen._replace(obs=closing["obs"], fields=closing, trial=np.zeros(N, bool), episode=np.zeros(N, bool))
        encoded = algorithm.encode(own, last) if isinstance(algorithm, Encoding) else {}
        played.append(Sides(here, there, (encoded, policy.encode(own, last._asdict())), seen, ended))
    return played


def same_bytes(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    """Names, shapes, types and bits."""
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert value.dtype == b[name].dtype and value.shape == b[name].shape and value.tobytes() == b[name].tobytes(), name


def told_collisions(spec: Any) -> Any:
    """Of a simulator like this one, but which can be told to ignore collisions."""
    return replace(spec, keyframes=spec.keyframes._replace(collisions=True), action_dim=spec.action_dim + 1)
