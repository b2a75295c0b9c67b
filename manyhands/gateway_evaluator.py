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
    wish, lacking = config.gateway.evaluate, any(map(hooks.missing, config.tasks))
    return config.gateway.clients > 0 and (wish == "clients" or (wish == "auto" and lacking))


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
        names, rows = self.config.tasks, []
        for (task, seed, number), one in zip(self.episodes, found, strict=True):
            success = one.success_any, one.success_last, one.first_success
            rows.append(Row(names[task], number, 0, seed, *success, one.length, one.episode_return))
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
