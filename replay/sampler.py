"""The task-uniform draw from a ring: what a learner calls once per update. One flat gather from shared memory, no call to anyone.

A plan may want some of the tasks only, drawn anew now and then, beside the batch a context, and rows by their priority or from
demonstrations: see ``core.types.Stream``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.errors import CheckpointError, ConfigError
from core.types import Batch, Stream
from replay.context import Context
from replay.draw import Draw, EmptyReplayError
from replay.ring import Ring
from replay.weighted import WeightedDraw
from replay.windows import Windows, rows_read

__all__ = ["EmptyReplayError", "Sampler"]


class Sampler:
    """Draws B transitions of each task, or of T of them, with replacement over its live STEP rows; and their context."""

    def __init__(self, ring: Ring, tasks: Sequence[int], plan: Stream, seed: int, pin: bool = False, *, demos: Ring | None = None) -> None:
        """
        Args:
            tasks: (K,) rows of the ring to draw from, in the order of the batch.
            pin: puts the buffer into page-locked memory, for copies to a GPU.
            demos: the run's demonstrations, of the same tasks; each may have none.

        Raises:
            ConfigError: the plan cannot be drawn from this ring.
        """
        layout, rows = ring.layout, rows_read(ring.layout.dtype, plan)
        if rows > layout.window:
            raise ConfigError(f"n_step {plan.n_step} reads {rows} rows, the ring of this run mirrors windows of {layout.window}")
        if not tasks or any(not 0 <= t < layout.tasks for t in tasks):
            raise ConfigError(f"sampler tasks {list(tasks)} must be some of 0 ... {layout.tasks - 1}")
        _check(plan, len(tasks))
        if demos is not None:
            _check_demos(demos, ring)
        self._ring, self._plan, self._tasks = ring, plan, np.array(tasks, np.int64)
        self._rng = np.random.Generator(np.random.SFC64(seed))
        self._chosen = np.arange(plan.tasks or len(tasks))
        """(T,) positions in ``tasks`` that are drawn from"""
        self._weighted: WeightedDraw | None = None
        self._left = 0
        """updates that they are kept for still"""
        T = len(self._chosen)
        context = Context(layout.dtype, T, plan, 0)
        weights = T * plan.batch_size if plan.priority and plan.weight else 0
        self.windows = Windows(layout.dtype, T, plan, pin=pin, behind=context.size + weights + plan.tasks)
        self.buffer = self.windows.buffer
        self._weight_at = slice(self.windows.size + context.size, self.windows.size + context.size + weights) if weights else None
        """where the weights are, (T, B)"""
        drawn, to = self._tasks[:T], self.windows.gathered
        if plan.priority or demos is not None:
            self._weighted = WeightedDraw(ring, demos, drawn, plan, self._rng, rows=rows, gathered=to)
        self.batch = self._weighted or Draw(ring, drawn, plan.batch_size, self._rng, rows=rows, gathered=to)
        self._context: Context | None = None
        self._draws: list[Draw | WeightedDraw] = [self.batch]
        if plan.context:
            self._context = context = Context(layout.dtype, T, plan, self.windows.size)
            to, near = context.gathered(self.buffer), plan.recent
            self._draws.append(Draw(ring, drawn, plan.context, self._rng, rows=context.rows, gathered=to, recent=near))

    def ready(self) -> bool:
        """Whether every task, chosen or not, has a transition that can be drawn."""
        live = self._weighted.live(self._tasks) if self._weighted else self._ring.state().live[self._tasks]
        return bool((live > 0).all())

    def sample(self) -> None:
        """Fills ``buffer`` with the next batch.

        Raises:
            EmptyReplayError: a task has nothing to draw; where tasks are chosen, any of them when that is done.
        """
        if self._plan.tasks:
            self._choose()
        for draw in self._draws:
            draw.gather()
        self.windows.fold()
        if self._weighted and self._weight_at:
            self.buffer[self._weight_at] = torch.from_numpy(self._weighted.weights()).reshape(-1)

    def prioritise(self, priority: NDArray) -> None:
        """(K, B) priorities of the last batch, as the update tells them. Rows overwritten meanwhile are skipped.

        Raises:
            ManyhandsError: one of them is negative or not finite.
        """
        if self._weighted and self._plan.priority:
            self._weighted.prioritise(priority)

    def _choose(self) -> None:
        """T of the K tasks without replacement, once in ``hold`` updates. By 64-bit numbers: half a one would be lost in a checkpoint."""
        if not self._left:
            self._draws[0].check(self._tasks)
            self._take(self._rng.random(len(self._tasks)).argsort()[: self._plan.tasks])
            self._left = self._plan.hold
        self._left -= 1

    def _take(self, chosen: NDArray[np.int64]) -> None:
        self._chosen = chosen
        for draw in self._draws:
            draw.turn_to(self._tasks[chosen])
        self.buffer[-self._plan.tasks :] = torch.from_numpy(chosen)

    def assemble(self, buffer: torch.Tensor) -> Batch:
        """The batch in ``buffer``, or in a copy of it on any device."""
        batch, T = self.windows.assemble(buffer), self._plan.tasks
        if T:
            batch = batch._replace(chosen=buffer[-T:].long())
        if self._weight_at:
            batch = batch._replace(weight=buffer[self._weight_at].view(*batch.reward.shape))
        if self._context:
            batch = batch._replace(context=self._context.assemble(buffer), context_here=self._context.columns(buffer))
        return batch

    def draw(self) -> Batch:
        """The next batch, valid until the next call; for whoever is in no hurry."""
        self.sample()
        return self.assemble(self.buffer)

    def columns(self, name: str) -> NDArray:
        """(K, B, ...) view of a column at the drawn transitions of the last batch."""
        return self.windows.records[name][:, :, 0]

    def drawn(self) -> NDArray[np.int64]:
        """(K, B) row numbers of the last batch; row a of a demonstration is -1 - a."""
        return self.batch.drawn()

    def drawn_context(self) -> NDArray[np.int64]:
        """(T, C) row numbers of the last batch's context."""
        return self._draws[-1].drawn()

    def state_dict(self) -> dict[str, Any]:
        """What makes the following draws the same over the same ring."""
        inner = self._rng.bit_generator.state
        state = {"kind": inner["bit_generator"], "state": inner["state"]["state"].copy(), "tasks": self._tasks.copy()}
        state |= {"chosen": self._chosen.copy(), "left": self._left} if self._plan.tasks else {}
        return state | ({"trees": self._weighted.state_dict()} if self._weighted else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises CheckpointError where the state was saved for other tasks, or for another number of them per update."""
        kind, tasks = self._rng.bit_generator.state["bit_generator"], np.asarray(state["tasks"])
        if state["kind"] != kind or not np.array_equal(tasks, self._tasks):
            raise CheckpointError(
                f"the sampler was saved for tasks {tasks.tolist()} ({state['kind']}), this one draws {self._tasks.tolist()}"
            )
        chosen = np.asarray(state.get("chosen", ()), np.int64)
        if len(chosen) != self._plan.tasks:
            raise CheckpointError(f"the sampler was saved for {len(chosen)} tasks per update, this one draws {self._plan.tasks} (0: all)")
        if self._weighted:
            if "trees" not in state:
                raise CheckpointError("the sampler was saved without priorities or demonstrations, this one draws by them")
            self._weighted.load_state_dict(state["trees"])
        words = np.array(state["state"], np.uint64)
        self._rng.bit_generator.state = {"bit_generator": kind, "state": {"state": words}, "has_uint32": 0, "uinteger": 0}
        if self._plan.tasks:
            self._take(chosen)
            self._left = int(state["left"])


def _check_demos(demos: Ring, ring: Ring) -> None:
    """Raises ConfigError where demonstrations do not go with a run's ring."""
    odd = [part for part in ring.layout.differences(demos.layout) if part.partition(" ")[0] in ("tasks", "window", "row")]
    if odd:
        raise ConfigError(f"the demonstrations' ring is not one of this run ({'; '.join(odd)}); make it again")


def _check(plan: Stream, tasks: int) -> None:
    """Raises ConfigError for what no draw can do."""
    for name, lowest in (("tasks", 0), ("hold", 1), ("context", 0), ("recent", 0)):
        if getattr(plan, name) < lowest:
            raise ConfigError(f"the plan's {name} is {getattr(plan, name)}; it must be {lowest} or more")
    for name, highest in (("demos", 1), ("priority", np.inf), ("weight", np.inf)):
        if not 0 <= getattr(plan, name) <= highest:
            raise ConfigError(f"the plan's {name} is {getattr(plan, name)}; it must be 0 or more" + ", at most 1" * (highest == 1))
    if plan.tasks > tasks:
        raise ConfigError(
            f"the plan draws {plan.tasks} tasks for an update, without replacement, but there are {tasks}; allowed: 0 to {tasks}"
        )
    if plan.hold > 1 and not plan.tasks:
        raise ConfigError(f"the plan's hold is {plan.hold}, but it draws from all tasks: there is nothing to hold. Set tasks")
    if plan.recent and not plan.context:
        raise ConfigError(f"the plan's recent is {plan.recent}, but it draws no context from them. Set context")
