"""Makes the learner of a stack, from what its runs told: one source of data per seed over that run's ring, read-only."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from core.errors import ConfigError
from core.types import Rounds
from learner.rounds import RoundLearner
from learner.worker import LearnerWorker
from manyhands import build

if TYPE_CHECKING:
    from manyhands.stack import Join


def make(joined: "Sequence[Join]", settings: Mapping[str, Any]) -> LearnerWorker | RoundLearner:
    """The learner of all these seeds; begins to compile, where there is anything to compile.

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
    own = replace(first.config.learner, **settings)
    if isinstance(made.plan, Rounds):
        return RoundLearner(made, [build.rounds(join.config, join.spec, made, join.ring) for join in joined], trees, own)
    sources = [build.sampler(join.config, made, join.ring, tree) for join, tree in zip(joined, trees, strict=True)]
    learner = LearnerWorker(made, sources, trees, own)
    learner.compile()
    return learner
