"""The evaluator of a run whose simulators are in clients elsewhere: the same episodes as ``build.evaluator`` would play, by clients."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.errors import ConfigError
from core.types import TaskSpec, Weights
from manyhands import build
from manyhands.config import RunConfig
from manyhands.gateway import Door, Outside
from outpost.keys import Keys
from outpost.link import Link
from protocols.evaluator import Evaluation, Unplayed, outcomes
from protocols.rows import Row
from replay.gateway_evaluation import Offers, Unanswered
from simulators import hooks

log = logging.getLogger("manyhands.gateway")


def check(config: RunConfig) -> None:
    """Raises ConfigError where neither the run nor its clients can evaluate."""
    lacking = next(filter(None, map(hooks.missing, config.tasks)), "")
    if lacking and config.gateway.evaluate == "run":
        raise ConfigError(f"gateway.evaluate is run, so policies are evaluated here. {lacking}. Or: --gateway.evaluate clients")
    if by_clients(config) and config.evaluation.adaptation:
        why = f"; here {lacking}" if lacking else ""
        raise ConfigError(f"evaluation.adaptation is {config.evaluation.adaptation}, and clients cannot adapt: it must be 0{why}")


def by_clients(config: RunConfig) -> bool:
    """Whether clients evaluate."""
    settings = config.gateway
    return settings.clients > 0 and (settings.evaluate == "clients" or settings.evaluate == "auto" and any(map(hooks.missing, config.tasks)))


class ClientEvaluator:
    """The component: as ``protocols.evaluator.PolicyEvaluator``, of plans without adaptation."""

    def __init__(self, config: RunConfig, offers: Offers) -> None:
        self.config, self.offers = config, offers
        slots, seeds, plan = build.evaluation_plan(config, range(len(config.tasks)), 0, "evaluation", config.evaluation.schedule)
        self.options = hooks.elsewhere(config.tasks[0], config.evaluation_options)
        ranges = zip(slots, seeds, plan.first.tolist(), plan.episodes.tolist(), strict=True)
        self.episodes = [(task, seed, first + i) for task, seed, first, count in ranges for i in range(count)]

    def evaluate(self, weights: Weights) -> Evaluation | Unplayed:
        """All episodes, whole, or nothing."""
        try:
            found = self.offers.play(weights, self.options, self.episodes)
        except Unanswered as reason:
            log.warning("%s", reason)
            return Unplayed(weights.version, str(reason))
        rows = [
            Row(self.config.tasks[task], number, 0, seed, one.success_any, one.success_last, one.first_success, one.length, one.episode_return)
            for (task, seed, number), one in zip(self.episodes, found, strict=True)
        ]
        return Evaluation(weights.version, outcomes(rows, [task for task, *_ in self.episodes]), self.offers.lost)

    def close(self) -> None:
        self.offers.close()


def factory(config: RunConfig, outside: Outside) -> tuple[Callable[..., Any], tuple]:
    """What makes a run's evaluator, and what that needs beside settings, spec and folder of logs."""
    return (make, (outside.door(),)) if by_clients(config) else (build.evaluator, ())


def make(config: RunConfig, spec: TaskSpec, logs: Path, door: Door) -> ClientEvaluator:
    """The factory that a backend starts."""
    settings = config.gateway
    link = Link(door.url, settings.ca)
    return ClientEvaluator(config, Offers(link, Keys(settings.channel), door.run, settings.timeout_s, settings.patience_s))
