"""Evaluation: a fixed quota of whole episodes for every (task, goal), so that quick successes cannot fill it. Simulators in, rows out.

(Taking the first E episodes that end, over simulators of unequal speed, over-counts successes: a solved goal is replayed more often.
``protocols.official`` has that number under its own name.)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.abilities import Recalling
from core.contracts import Algorithm, SteppedSimulators
from core.demos import Demo
from core.errors import ConfigError
from core.types import TaskSpec, Weights
from protocols.adaptive import AdaptivePlayer
from protocols.plan import Plan
from protocols.players import AlgorithmPlayer, Player
from protocols.rows import Results, Row
from protocols.tally import Tally


class Evaluator:
    """Plays a plan on N simulators, of one task or of several. What a lost simulator costs is played again.

    Where the plan's schedule has adaptation, the first look of a trial is the zero-shot control of the later ones: same goal, same policy,
    and ``Results.gain`` is the difference.

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
            simulators.send(player.act(simulators.obs))
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
        schedule = self.plan.schedule
        trial: dict[str, Any] = {"adaptation": schedule.adaptation, "evaluation": schedule.evaluation}
        if schedule.adaptation:
            trial["looks"] = list(schedule.looks)
        if schedule.demos:
            trial["demos"] = schedule.demos
        return {task: {**dict(spec.labels), "horizon": spec.horizon, **trial, **common} for task, spec in by_task.items()}


def task_specs(simulators: SteppedSimulators) -> Sequence[TaskSpec]:
    """(N,) what each slot is; one task's simulators need not say it slot by slot."""
    return getattr(simulators, "specs", None) or [simulators.spec] * simulators.size


class TaskOutcome(NamedTuple):
    """The episodes of one task."""

    task: str
    success_any: NDArray
    """(E,) bool, the criterion held at some step"""
    success_last: NDArray
    """(E,) bool, it held at the last step"""
    episode_return: NDArray
    """(E,) float"""
    first_success: NDArray
    """(E,) int, env steps until the first success; -1: never"""


class Evaluation(NamedTuple):
    """What an evaluation of one version of the weights found."""

    version: int
    """weights version"""
    tasks: tuple[TaskOutcome, ...]
    """(K,) in the order of the run's tasks; where the plan has adaptation, of the episodes after it"""
    lost: int = 0
    """episodes that a lost simulator cost; they are repeated, not counted"""
    zero_shot: tuple[TaskOutcome, ...] = ()
    """(K,) the control of the same trials, before any adaptation; nothing where there is none"""
    exploration: tuple[TaskOutcome, ...] = ()
    """(K,) the adaptation episodes themselves"""


class Unplayed(NamedTuple):
    """An evaluation that did not come about. It says nothing about the policy."""

    version: int
    """weights version"""
    reason: str
    """one line"""


def outcomes(rows: Iterable[Row], tasks: Iterable[int]) -> tuple[TaskOutcome, ...]:
    """Rows put together by the algorithm's index of the task of each."""
    by_task: dict[int, list[Row]] = {}
    for row, task in zip(rows, tasks, strict=True):
        by_task.setdefault(task, []).append(row)
    return tuple(
        TaskOutcome(
            mine[0].task,
            success_any=np.array([row.success_any for row in mine]),
            success_last=np.array([row.success_last for row in mine]),
            episode_return=np.array([row.episode_return for row in mine]),
            first_success=np.array([row.first_success for row in mine]),
        )
        for mine in by_task.values()
    )


class PolicyEvaluator:
    """The component that evaluates a policy in all tasks of a run: always the same episodes, those of its plan.

    Args:
        simulators: N, owned and closed by this object.
        plan: for them.
        tasks: (N,) the algorithm's index of each simulator's task; by default all are of task 0.
        seeds: of the N simulators, for the rows.
        noise_seed: of the exploration in adaptation episodes, the same in every evaluation.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        simulators: SteppedSimulators,
        plan: Plan,
        tasks: Sequence[int] | None = None,
        seeds: Sequence[int] | None = None,
        *,
        noise_seed: int = 0,
    ) -> None:
        self.noise_seed = noise_seed
        self.algorithm, self.tasks = algorithm, np.zeros(simulators.size, np.int64) if tasks is None else np.asarray(tasks, np.int64)
        self.evaluator = Evaluator(simulators, plan, seeds)

    def results(
        self,
        weights: Weights,
        settings: Mapping[str, Any] = MappingProxyType({}),
        rng: np.random.Generator | None = None,
        demos: Sequence[Sequence[Demo]] = (),
    ) -> Results:
        """All episodes as rows. Looks are deterministic; with ``rng`` a plan without adaptation is played by sampled actions instead.

        Args:
            demos: of each of the algorithm's tasks, as many as the schedule says, where it has any.
        """
        simulators, schedule = self.evaluator.simulators, self.evaluator.plan.schedule
        simulators.ready()
        A = simulators.spec.action_dim
        if not schedule.adaptation:
            return self.evaluator.evaluate(AlgorithmPlayer(self.algorithm, weights, self.tasks, rng, action_dim=A), settings)
        noise, horizon = rng or np.random.default_rng(self.noise_seed), max(spec.horizon for spec in task_specs(simulators))
        recalled = self._recalled(weights, demos) if schedule.demos else None
        player = AdaptivePlayer(self.algorithm, weights, self.tasks, schedule, noise, action_dim=A, horizon=horizon, recalled=recalled)
        return self.evaluator.evaluate(player, settings)

    def _recalled(self, weights: Weights, demos: Sequence[Sequence[Demo]]) -> dict[str, NDArray]:
        """(N, ...) what each slot remembers of the demonstrations of its task."""
        assert isinstance(self.algorithm, Recalling)
        of_task = [self.algorithm.recall(weights.params, shown) for shown in demos]
        return {name: np.concatenate([of_task[task][name] for task in self.tasks.tolist()]) for name in of_task[0]}

    def evaluate(self, weights: Weights) -> Evaluation:
        """All episodes, whole: what they come to after adaptation, and where there is any, before and during it."""
        results = self.results(weights)
        adaptation = self.evaluator.plan.schedule.adaptation
        adapted = self._outcomes(results, lambda row: row.look and row.adapted_episodes == adaptation)
        if not adaptation:
            return Evaluation(weights.version, adapted, results.lost)
        control = self._outcomes(results, lambda row: row.look and row.adapted_episodes == 0)
        return Evaluation(weights.version, adapted, results.lost, control, self._outcomes(results, lambda row: not row.look))

    def _outcomes(self, results: Results, keep: Callable[[Row], bool]) -> tuple[TaskOutcome, ...]:
        of_rows = np.repeat(self.tasks, self.evaluator.plan.episodes)  # rows are by slot; a run may have one name twice
        kept = [(row, index) for row, index in zip(results.rows, of_rows.tolist(), strict=True) if keep(row)]
        return outcomes([row for row, _ in kept], [index for _, index in kept])

    def close(self) -> None:
        self.evaluator.close()
