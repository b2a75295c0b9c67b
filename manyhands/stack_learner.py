"""Makes the learner of a stack, from what its runs told: one sampler per seed over that run's ring, read-only."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from core.contracts import Algorithm, BatchSource
from core.errors import ConfigError
from core.seeding import SeedTree
from core.types import Weights
from learner.worker import Config, LearnerWorker
from manyhands import build
from replay.ring import Ring
from replay.sampler import Sampler

if TYPE_CHECKING:
    from manyhands.stack import Join


def make(joined: "Sequence[Join]", settings: Mapping[str, Any]) -> "SideBySide":
    """The learner of all these seeds; begins to compile.

    Args:
        settings: of this process, in place of the runs' own: device and memory.

    Raises:
        ConfigError: the runs differ in more than their seed.
    """
    first = joined[0]
    for other in joined[1:]:
        if replace(other.config, seed=first.config.seed) != first.config or other.spec != first.spec:
            raise ConfigError(
                f"the runs of seeds {first.seed} and {other.seed} differ in more than their seed; one learner needs equal ones"
            )
    made = build.algorithm(first.config, first.spec)
    trees = [build.seeds(join.config).child("learner") for join in joined]
    tasks = range(len(first.config.tasks))
    sources = [Sampler(Ring.attach(j.ring), tasks, made.plan, t.child("sampler").integer()) for j, t in zip(joined, trees, strict=True)]
    learner = SideBySide(made, sources, trees, with_settings(first.config.learner, settings))
    learner.compile()
    return learner


def with_settings(config: Config, settings: Mapping[str, Any]) -> Config:
    """``config`` with those of the settings that it knows."""
    known = {field.name for field in fields(config)}
    return replace(config, **{name: value for name, value in settings.items() if name in known})


class SideBySide:
    """A learner of S seeds that updates one after the other, with the interface of the ``LearnerWorker`` that is to stack them and then to
    take its place.
    """

    def __init__(self, algorithm: Algorithm, sources: Sequence[BatchSource], seeds: Sequence[SeedTree], config: Config) -> None:
        self.workers = [LearnerWorker(algorithm, [source], [tree], config) for source, tree in zip(sources, seeds, strict=True)]

    def compile(self) -> None:
        for worker in self.workers:
            worker.compile()

    def compiling(self) -> bool:
        return any(worker.compiling() for worker in self.workers)

    def wait_compiled(self) -> None:
        for worker in self.workers:
            worker.wait_compiled()

    def describe(self) -> str:
        return f"{self.workers[0].describe()}, {len(self.workers)} seeds"

    def update(self, counts: Sequence[int]) -> list[dict[str, float]]:
        """Metrics of each seed; of one with count 0 they mean nothing."""
        return [worker.update(count) if count else {} for worker, count in zip(self.workers, counts, strict=True)]

    def publish(self, seed: int) -> Weights:
        return self.workers[seed].publish()

    def weights(self, seed: int) -> Weights:
        return self.workers[seed].weights()

    def state_dict(self, seed: int) -> dict[str, Any]:
        return self.workers[seed].state_dict()

    def load_state_dict(self, state: Mapping[str, Any], seed: int) -> None:
        self.workers[seed].load_state_dict(state)
