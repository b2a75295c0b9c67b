"""Evaluation: a fixed quota of whole episodes for every (task, goal), so that quick successes cannot fill it. Simulators in, rows out.

(Taking the first E episodes that end, over simulators of unequal speed, over-counts successes: a solved goal is replayed more often.
``protocols.official`` has that number under its own name.)
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.contracts import Algorithm, SteppedSimulators
from core.errors import ConfigError
from core.types import TaskSpec, Weights
from protocols.plan import Plan, from_zero
from protocols.players import AlgorithmPlayer, Player
from protocols.rows import Results
from protocols.tally import Tally


class Evaluator:
    """Plays a plan on N simulators, of one task or of several. What a lost simulator costs is played again.

    Where the plan has adaptation, a trial's first episode is the zero-shot control of its later ones: same goal, same policy, and
    ``Results.gain`` is the difference.

    Args:
        simulators: N, owned and closed by this object. Slots may differ in task, then ``simulators.specs`` tells which is where.
        seeds: of the N simulators, for the rows.

    Raises:
        ConfigError: the plan does not fit.
    """

    def __init__(self, simulators: SteppedSimulators, plan: Plan, seeds: Sequence[int] | None = None) -> None:
        plan.check(simulators.size)
        self.simulators, self.plan = simulators, plan
        self.seeds = [-1] * simulators.size if seeds is None else [int(seed) for seed in seeds]
        if len(self.seeds) != simulators.size:
            raise ConfigError(f"{len(self.seeds)} seeds for {simulators.size} simulators")

    def evaluate(self, player: Player, settings: Mapping[str, Any] = MappingProxyType({})) -> Results:
        """All episodes of the plan, each counted once.

        Args:
            settings: what every row must tell beside the task's labels and the player's settings: run, checkpoint, seed ...

        Raises:
            SimulatorError: not retryable; the simulators are broken, or an episode was lost again and again.
        """
        self.simulators.ready()
        specs = task_specs(self.simulators)
        told = self._settings(specs, {**player.settings, **settings})
        tally = Tally(self.plan, [spec.task for spec in specs], self.seeds)
        while not tally.complete():
            self._play(player, tally)
        return Results(tally.rows(), told, tally.lost)

    def close(self) -> None:
        self.simulators.close()

    def _play(self, player: Player, tally: Tally) -> None:
        """One pass: every slot plays a run of trials that it misses; those that miss none step along."""
        simulators = self.simulators
        simulators.reset(tally.targets().tolist())
        tally.begin(simulators.variations)
        player.begin(np.ones(simulators.size, bool))
        while tally.playing():
            simulators.send(player.act(simulators.obs["obs"]))
            step = simulators.recv()
            began = tally.count(step, simulators.variations)
            player.observe(step)
            if began.any():
                player.begin(began)

    def _settings(self, specs: Sequence[TaskSpec], common: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        by_task: dict[str, TaskSpec] = {}
        for spec in specs:
            if by_task.setdefault(spec.task, spec) != spec:
                raise ConfigError(f"two simulators of {spec.task} differ in labels or horizon; their rows could not be told apart")
        trial = {"adaptation": self.plan.adaptation, "evaluation": self.plan.evaluation}
        return {task: {**dict(spec.labels), "horizon": spec.horizon, **trial, **common} for task, spec in by_task.items()}


def task_specs(simulators: SteppedSimulators) -> Sequence[TaskSpec]:
    """(N,) what each slot is; one task's simulators need not say it slot by slot."""
    return getattr(simulators, "specs", None) or [simulators.spec] * simulators.size


class Evaluation(NamedTuple):
    """E episodes of one task under one policy: what training reads."""

    task: str
    version: int
    """weights version"""
    success_any: NDArray
    """(E,) bool, the criterion held at some step"""
    success_last: NDArray
    """(E,) bool, it held at the last step"""
    episode_return: NDArray
    """(E,) float"""
    first_success: NDArray
    """(E,) int, env steps until the first success; -1: never"""
    lost: int
    """episodes that a lost simulator cost; they are repeated, not counted"""


class PolicyEvaluator:
    """The component that evaluates one task of a run: always the same episodes, variations 0, 1, 2 ... of every simulator.

    Args:
        simulators: N of one task, owned and closed by this object.
        seeds: of the N simulators, for the rows.
    """

    def __init__(
        self, algorithm: Algorithm, simulators: SteppedSimulators, episodes: int, task: int = 0, seeds: Sequence[int] | None = None
    ) -> None:
        self.algorithm, self.tasks = algorithm, np.full(simulators.size, task)
        self.evaluator = Evaluator(simulators, from_zero(simulators.size, episodes), seeds)

    def results(
        self, weights: Weights, settings: Mapping[str, Any] = MappingProxyType({}), rng: np.random.Generator | None = None
    ) -> Results:
        """All episodes as rows; with ``rng`` by actions sampled with its noise, else without exploration."""
        simulators = self.evaluator.simulators
        simulators.ready()
        player = AlgorithmPlayer(self.algorithm, weights, self.tasks, rng, action_dim=simulators.spec.action_dim)
        return self.evaluator.evaluate(player, settings)

    def evaluate(self, weights: Weights) -> Evaluation:
        """All episodes, whole, without exploration."""
        results = self.results(weights)
        return Evaluation(
            results.tasks[0],
            weights.version,
            success_any=results.column("success_any"),
            success_last=results.column("success_last"),
            episode_return=results.column("episode_return"),
            first_success=results.column("first_success"),
            lost=results.lost,
        )

    def close(self) -> None:
        self.evaluator.close()
