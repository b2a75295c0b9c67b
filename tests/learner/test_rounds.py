"""The on-policy learner: phases by the version, seeds apart, states that come back; and the same through the whole training loop."""

import pytest
import torch

from core.checkpoint import Checkpoints
from core.errors import ConfigError
from core.seeding import SeedTree
from core.treefile import snapshot
from core.types import Round, Rounds
from learner.rounds import RoundLearner
from learner.settings import Config
from manyhands import build, session
from manyhands.loop import train
from simulators.metaworld import Options
from tests.learner.fakes import assert_same, tensors
from tests.on_policy import Drifting
from tests.system.tiny import opened, run_through, tiny

SETTINGS = Config(threads=1, device="cpu", matmul="default")


class Told:
    """A source whose rounds say the version that was asked for."""

    def __init__(self, phases=1):
        self.asked, self.phases = [], phases

    def read(self, version):
        self.asked.append(version)
        lead = (self.phases, 1, 1, 2, 3)
        drawn = torch.full((*lead, 2), float(version))
        return Round(drawn, drawn / 10, torch.ones(lead), torch.ones(lead), {"drawn": drawn})

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def learner(*seeds, phases=1):
    algorithm = Drifting(Rounds(2, phases))
    return RoundLearner(algorithm, [Told(phases) for _ in seeds], [SeedTree(seed) for seed in seeds], SETTINGS), algorithm


def test_each_version_is_a_phase_and_the_last_of_a_round_updates():
    made, algorithm = learner(0, phases=3)
    told = []
    for _ in range(7):
        told.append(made.update(1))
        made.publish()
    assert made.sources[0].asked == list(range(7))
    assert [row.get("learner/phase") for row in told] == [0, 1, None, 0, 1, None, 0]
    assert made.state.updates.tolist() == [2.0]
    assert [float(one.obs.max()) for one in algorithm.rounds] == [2.0, 5.0]
    assert made.weights().version == made.updates[0] == 7


def test_seeds_know_nothing_of_each_other():
    together, alone = learner(3, 4)[0], learner(4)[0]
    for counts in ([1, 1], [0, 1], [1, 1]):
        rows = together.update(counts)
        assert [bool(row) for row in rows] == [bool(n) for n in counts]
        for seed, n in enumerate(counts):
            if n:
                together.publish(seed)
        alone.update(1)
        alone.publish()
    assert_same(tensors(together, 1), tensors(alone))
    assert together.updates == [2, 3]


def test_a_seed_that_has_ended_is_not_read_any_more():
    """Where several seeds share a learner, updates are still asked for in its name."""
    made, _ = learner(3, 4)
    made.retire(0)
    first, second = made.update([1, 1])
    assert (made.sources[0].asked, made.sources[1].asked) == ([], [0])
    assert not first
    assert second


@pytest.mark.parametrize("counts", [2, [1, 1], -1])
def test_one_update_per_round(counts):
    with pytest.raises(ConfigError, match="one of each round"):
        learner(0)[0].update(counts)


def test_a_state_saved_before_its_weights_were_published(tmp_path):
    made, again = learner(0)[0], learner(9)[0]
    made.update(1)
    Checkpoints(tmp_path).save(1, {"learner": snapshot(made.state_dict())})
    again.load_state_dict(Checkpoints(tmp_path).load().components["learner"])
    made.publish()
    assert again.weights().version == made.weights().version == 1
    for one in (made, again):
        one.update(1)
    assert_same(tensors(made), tensors(again))
    assert again.sources[0].asked == [1]


def test_phases_need_an_algorithm_that_has_something_to_do_between_them():
    algorithm = Drifting(Rounds(2, 2))
    hidden = type("Plain", (), {name: getattr(algorithm, name) for name in ("plan", "init", "noise", "update", "policy")})()
    with pytest.raises(ConfigError, match="2 phases"):
        RoundLearner(hidden, [Told(2)], [SeedTree(0)], SETTINGS)


# ---- through the training loop --------------------------------------------------------------------------------------------

CONFIG = {"tasks": ("dummy:point",) * 2, "simulator": {"horizon": 5}, "actors": {"actors": 2, "simulators": 2}, "total_steps": 320}
"""a phase is 2 tasks x 2 simulators x 2 episodes x 5 steps = 40 env steps"""


@pytest.fixture
def drifting(monkeypatch):
    algorithm = Drifting(Rounds(2, 2, one_goal=True))
    monkeypatch.setattr(build, "algorithm", lambda config, spec: algorithm)
    return algorithm


def final(folder):
    return Checkpoints(folder / "checkpoints").load().components


def test_the_loop_collects_rounds_and_updates_in_turn(drifting, tmp_path):
    folder = run_through(tiny(**CONFIG), tmp_path)
    parts = final(folder)
    assert len(drifting.rounds) == 4, "eight phases"
    assert parts["fleet"]["counters"]["steps"] == 320
    assert parts["fleet"]["counters"]["updates"] == parts["learner"]["version"] == 8
    assert parts["fleet"]["delivered"] == []
    for one in drifting.rounds:
        assert (one.valid == 1).all()
    acted = drifting.rounds[-1].action - 0.1 * drifting.rounds[-1].extra["drawn"]
    spread = (acted - acted[:, :, :1, :1, :1, :1]).abs().max()
    assert spread < 1e-6, "one version in each phase"
    assert not torch.allclose(acted[:, 0], acted[:, 1]), "and another in the next"


@pytest.mark.parametrize("at", [60, 120])
def test_resume_is_bit_equal(drifting, tmp_path, at):
    """In the midst of a round: at 60 steps only one of two actors has delivered, at 120 the first of two phases is over."""
    whole = run_through(tiny(**CONFIG), tmp_path / "whole")
    with opened(tiny(**CONFIG), tmp_path / "parts") as run:
        done = run.done
        run.done = lambda: done() or run.fleet.counters.steps >= at
        train(run)
        run.save(wait=True)
        config, name = run.config, run.id
    resumed = run_through(config, tmp_path / "parts", run=name)
    one, other = final(whole), final(resumed)
    assert_same(one["learner"]["tensors"], other["learner"]["tensors"])
    assert one["fleet"]["counters"]["steps"] == other["fleet"]["counters"]["steps"]
    assert one["driver"]["limiter"] == other["driver"]["limiter"]


def test_a_goal_that_changes_within_a_trial_is_refused():
    config = tiny(tasks=("metaworld:reach-v3",), simulator=Options(repeat=5))
    with pytest.raises(ConfigError, match=r"simulator.repeat is 5, .* plays 10 episodes of one goal. Fix: --simulator.repeat 10"):
        session.check_trial(config, 10)
    session.check_trial(config, 5)
    session.check_trial(config, 1)
