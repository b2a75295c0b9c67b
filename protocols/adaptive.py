"""Plays whole trials with a policy that adapts: by its memory, or by gradients. Between weights and the evaluator, as all players.

One path for every method. A look acts without exploring from a copy of what was known when it began, and is forgotten when it ends.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.abilities import Adapting
from core.contracts import Algorithm, SimulatorStep
from core.seen import ARRAYS, Watch
from core.types import Observation, Seen, Weights
from protocols.gathered import Gathered
from protocols.schedule import Schedule


class Memory:
    """What a policy has in N simulators: its carry and what it saw last; kept and brought back slot by slot.

    Where a trial begins the carry means nothing, by the contract of ``act``: so none need be there to be kept or brought back.
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.carry: dict[str, NDArray] | None = None
        self._kept_watch = {name: getattr(watch, name).copy() for name in ARRAYS}
        self._kept_carry: dict[str, NDArray] | None = None

    def keep(self, slots: NDArray[np.bool_]) -> None:
        """Remembers what ``slots`` (N,) know now."""
        for name, kept in self._kept_watch.items():
            kept[slots] = getattr(self.watch, name)[slots]
        if self.carry is not None:
            self._kept_carry = _written(self._kept_carry, slots, {name: part[slots] for name, part in self.carry.items()})

    def bring_back(self, slots: NDArray[np.bool_]) -> None:
        """``slots`` (N,) know what they knew when it was kept, and nothing since."""
        for name, kept in self._kept_watch.items():
            getattr(self.watch, name)[slots] = kept[slots]
        if self._kept_carry is not None:
            self.carry = _written(self.carry, slots, {name: part[slots] for name, part in self._kept_carry.items()})

    def of(self, slots: NDArray[np.bool_]) -> dict[str, NDArray] | None:
        """The carry of ``slots`` (N,); None before there is any."""
        return None if self.carry is None else {name: part[slots] for name, part in self.carry.items()}

    def forget(self, slots: NDArray[np.bool_]) -> None:
        """Of ``slots`` (N,) nothing is left that could be recalled."""
        for part in (self.carry or {}).values():
            part[slots] = 0

    def put(self, slots: NDArray[np.bool_], carry: dict[str, NDArray] | None) -> None:
        """What ``act`` gave back for ``slots`` (N,)."""
        if carry is not None:
            self.carry = _written(self.carry, slots, carry)


class AdaptivePlayer:
    """Plays ``schedule`` in N simulators, each at its own place of its own trial.

    An ``Adapting`` algorithm is given the slot's adaptation episodes so far before each look, which then acts with what it made of them;
    adaptation episodes are always acted with the published parameters.

    Args:
        tasks: (N,) the algorithm's index of each simulator's task.
        rng: the noise that adaptation episodes explore with.
        action_dim: A.
        horizon: env steps of the longest episode.
        recalled: (N, ...) what every slot remembers of demonstrations, where the schedule has any: ``core.abilities.Recalling``.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        weights: Weights,
        tasks: ArrayLike,
        schedule: Schedule,
        rng: np.random.Generator,
        *,
        action_dim: int,
        horizon: int,
        recalled: Mapping[str, NDArray] | None = None,
    ) -> None:
        self.recalled = recalled
        self.algorithm, self.weights, self.rng = algorithm, weights, rng
        self.settings = {"version": weights.version, "actions": "deterministic"}
        # None of these simulators is one of the run's: where parameters have lanes, all act by the first.
        self.memory = Memory(Watch(tasks, action_dim, np.zeros(np.size(tasks), np.int64)))
        self.N, self.action_dim = np.size(tasks), action_dim
        self.place = np.zeros(self.N, np.int64)
        """(N,) of each slot in its trial"""
        self._look, self._known, self._shown = (np.array(column) for column in zip(*schedule.places, strict=True))
        self._gathered = Gathered(self.N, schedule.adaptation, horizon) if isinstance(algorithm, Adapting) else None
        self._adapted: dict[str, NDArray] = {}
        """(N, ...) parameters of each slot's look"""

    def begin(self, slots: NDArray[np.bool_]) -> None:
        self.memory.watch.begin(slots)
        if self.recalled is not None:
            self.memory.forget(slots)
        self.memory.keep(slots)  # a trial begins with a look
        self.place[slots] = 0
        if self._gathered is not None:
            self._gathered.clear(slots)

    def act(self, obs: Observation) -> NDArray[np.float32]:
        look, known = self._look[self.place], self._known[self.place]
        seen, actions = self.memory.watch.seen(obs), np.zeros((self.N, self.action_dim), np.float32)
        if not look.all():
            noise = self.rng.standard_normal((self.N, self.algorithm.noise_dim), np.float32)
            actions[~look], extra = self._acted(~look, self.weights.params, _of(seen, ~look), noise[~look])
            if self._gathered is not None:
                self._gathered.acted(~look, known, obs["obs"][~look], actions[~look], extra)
        changed = look & (known > 0) if self._gathered is not None else np.zeros(self.N, bool)
        plain = look & ~changed
        if plain.any():
            actions[plain], _ = self._acted(plain, self.weights.params, _of(seen, plain), None)
        if changed.any():
            own = _of(seen, changed)._replace(lanes=np.flatnonzero(changed))
            actions[changed], _ = self._acted(changed, self._adapted, own, None)
        self.memory.watch.acted(actions)
        return np.clip(actions, -1.0, 1.0)

    def _acted(
        self, slots: NDArray[np.bool_], params: Mapping[str, NDArray], own: Seen, noise: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], dict[str, NDArray]]:
        """What the policy does in n ``slots`` (N,), given what they have seen: (n, A), and its columns."""
        action, carry, extra = self.algorithm.act(params, self.memory.of(slots), own, noise)
        self.memory.put(slots, carry)
        return action, extra

    def observe(self, step: SimulatorStep) -> None:
        if self._gathered is not None:
            self._gathered.stepped(~self._look[self.place], self._known[self.place], step.reward)
        ended = (step.terminated | step.truncated) & ~step.lost
        self.memory.watch.stepped(step.reward, ended)
        if ended.any():
            self._go_on(ended)  # where a simulator was lost, the evaluator says begin

    def _go_on(self, ended: NDArray[np.bool_]) -> None:
        """``ended`` (N,) are at their next place."""
        looked = ended & self._look[self.place]
        self.memory.bring_back(looked)
        blind = ~self._shown[self.place]
        self.place[ended] = (self.place[ended] + 1) % len(self._look)
        shown = ended & blind & self._shown[self.place]
        if self.recalled is not None and shown.any():
            self.memory.put(shown, {name: part[shown] for name, part in self.recalled.items()})
        looks = ended & (~looked | shown) & self._look[self.place]
        self.memory.keep(looks)
        if self._gathered is not None:
            self._adapt(self._gathered, looks)

    def _adapt(self, gathered: Gathered, slots: NDArray[np.bool_]) -> None:
        """Parameters of the looks that begin in ``slots`` (N,); those that know as many episodes together."""
        for known in sorted(set(self._known[self.place[slots]].tolist()) - {0}):
            alike = slots & (self._known[self.place] == known)
            params = self.algorithm.adapt(self.weights.params, gathered.round(alike, known))  # type: ignore[attr-defined]
            self._adapted = _written(self._adapted, alike, params)


def _of(seen: Seen, slots: NDArray[np.bool_]) -> Seen:
    """What ``slots`` (N,) have seen."""
    *arrays, fields = seen
    return Seen(*(part[slots] for part in arrays), fields={name: part[slots] for name, part in fields.items()})


def _written(whole: dict[str, NDArray] | None, slots: NDArray[np.bool_], parts: Mapping[str, Any]) -> dict[str, NDArray]:
    """``whole`` (N, ...) with ``parts`` (n, ...) in its n ``slots``; made at the first time, of zeros elsewhere."""
    whole = {} if whole is None else whole
    for name, part in parts.items():
        values = np.asarray(part)
        if name not in whole:
            whole[name] = np.zeros((len(slots), *values.shape[1:]), values.dtype)
        whole[name][slots] = values
    return whole
