"""What the fleet counts, and what comes in from its components between two looks of the loop."""

from dataclasses import dataclass, field

from actors.worker import Report
from protocols.evaluator import Evaluation, Unplayed


@dataclass
class Counters:
    """What has happened so far in this run, over all its processes."""

    steps: int = 0
    """env steps collected"""
    stored: int = 0
    """transitions acknowledged by replay"""
    updates: int = 0
    episodes: int = 0
    version: int = 0
    """newest weights version"""
    acting_version: int = 0
    """version that acted last"""
    lost: int = 0
    """simulators lost and replaced"""
    restarts: int = 0
    """actors and evaluators lost and replaced"""
    planned: int = 0
    """simulator processes replaced between two episodes, as planned"""
    quarantined: int = 0
    """kinds of episodes that actors play no more"""

    def count(self, report: Report) -> None:
        """Takes in what an actor did."""
        self.steps += report.steps
        self.stored += report.stored
        self.episodes += len(report.episodes)
        self.lost += report.lost
        self.acting_version = report.version
        self.planned += report.upkeep.planned
        self.quarantined += len(report.upkeep.quarantined)


@dataclass
class Absorbed:
    """What came in since the last ``absorb``."""

    inserted: int = 0
    """what the limiter counts: transitions stored, or on-policy parts of a round"""
    reports: list[Report] = field(default_factory=list)
    learner: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    unplayed: list[Unplayed] = field(default_factory=list)

    def judged(self, result: Evaluation | Unplayed) -> None:
        """Takes in the end of an evaluation."""
        if isinstance(result, Evaluation):
            self.evaluations.append(result)
        else:
            self.unplayed.append(result)

    def add(self, more: "Absorbed") -> None:
        self.inserted += more.inserted
        self.reports += more.reports
        self.learner += more.learner
        self.evaluations += more.evaluations
        self.unplayed += more.unplayed
