"""What an adaptive policy knows in every episode of a trial: all adaptation episodes before it, and nothing of the looks.

The fakes tell it: memory counts the steps it has seen, and the reward is what a policy did.
"""

from collections import defaultdict

import numpy as np
import pytest

from core.abilities import Adapting
from core.types import Weights
from protocols.adaptive import AdaptivePlayer
from protocols.evaluator import Evaluator, PolicyEvaluator
from protocols.plan import Plan, each_from_zero
from protocols.schedule import Schedule
from tests.protocols.fakes import ACTS, WEIGHTS, Fake

SCALE = 1000.0
"""actions lie in [-1, 1]"""
FOUR = Schedule.looked_at(4)
"""looks after 0, 1, 2 and 4: eight episodes"""
LENGTHS = [[3, 4, 2, 5, 3, 2, 6, 4], [7, 2, 3, 2, 4, 4, 2, 3, 5, 3]]
"""two slots out of step"""


class Echo(Fake):
    """Reward: the first number of the action."""

    def send(self, actions):
        super().send(actions[:, :1])
        self.acted = actions[:, 0].copy()

    def recv(self):
        step = super().recv()
        step.reward = np.where(step.lost, 99, self.acted).astype(np.float32)
        return step


class Counts:
    """Memory: acts so far in this trial, whatever they were for. Action: their number over 1000. Tasks are the slots; notes what it saw."""

    noise_dim = 2

    def __init__(self):
        self.noted = defaultdict(list)

    def act(self, params, carry, seen, noise):
        before = np.zeros(len(seen.obs)) if carry is None else carry["acts"]
        before = np.where(seen.trial, 0, before)
        assert noise is None or noise.shape == (len(seen.obs), 2)
        for i, slot in enumerate(seen.tasks.tolist()):
            told = (bool(seen.trial[i]), bool(seen.episode[i]), float(seen.action[i, 0]), float(seen.reward[i]))
            self.noted[slot].append((int(seen.obs[i, 0]), int(seen.obs[i, 1]), noise is not None, *told))
        return (before[:, None] / SCALE).astype(np.float32), {"acts": before + 1}, {}


def expected(lengths, schedule):
    """Of a trial: the return of every episode, if looks leave no trace."""
    known, returns = 0, []
    for place, length in zip(schedule.places, lengths, strict=False):
        returns.append(sum(known + t for t in range(length)) / SCALE)
        known += 0 if place.look else length
    return returns


def play(fake, algorithm, schedule, trials=1, weights=WEIGHTS, horizon=10):
    N = fake.size
    player = AdaptivePlayer(algorithm, weights, np.arange(N), schedule, np.random.default_rng(0), action_dim=1, horizon=horizon)
    return Evaluator(fake, Plan(np.zeros(N, int), np.full(N, trials * schedule.trial), schedule)).evaluate(player)


def of_slot(results, slot, size):
    rows = results.rows
    return rows[slot * len(rows) // size : (slot + 1) * len(rows) // size]


# ---- memory ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [FOUR, Schedule.controlled(3, evaluation=2)])
def test_adaptation_accumulates_and_looks_leave_no_trace(schedule):
    trial = schedule.trial
    table = [np.resize(lengths, 2 * trial).tolist() for lengths in LENGTHS]
    algorithm = Counts()
    results = play(Echo(table), algorithm, schedule, trials=2)
    for slot, lengths in enumerate(table):
        returns = expected(lengths[:trial], schedule) + expected(lengths[trial:], schedule)
        np.testing.assert_allclose([row.episode_return for row in of_slot(results, slot, 2)], returns, rtol=1e-5)
        assert [row.length for row in of_slot(results, slot, 2)] == lengths
    assert [(row.look, row.adapted_episodes, row.demos > 0) for row in results.rows] == list(schedule.places) * 4


def test_only_adaptation_explores_and_an_episode_begins_where_adaptation_ended():
    algorithm = Counts()
    play(Echo([LENGTHS[0]]), algorithm, FOUR)
    lengths, known = LENGTHS[0], 0
    noted = [told for told in algorithm.noted[0] if told[0] < FOUR.trial]
    assert [told[2] for told in noted] == [not FOUR.places[told[0]].look for told in noted]
    for variation, place in enumerate(FOUR.places):
        first, second = [told for told in noted if told[0] == variation][:2]
        last = (known - 1) / SCALE if known else 0.0  # what was done last in adaptation, and what it brought
        assert first[3:5] == (known == 0, True)
        np.testing.assert_allclose(first[5:], [last, last], rtol=1e-6)
        assert second[3:5] == (False, False)
        known += 0 if place.look else lengths[variation]


@pytest.mark.parametrize("lost", [{(0, 4): 1}, {(0, 0): 2, (1, 7): 1}, {(0, 3): 1, (1, 9): 1}])
def test_a_lost_simulator_costs_its_trial_and_changes_no_number(lost):
    table = [np.resize(lengths, 16).tolist() for lengths in LENGTHS]
    whole = play(Echo(table), Counts(), FOUR, trials=2)
    broken = play(Echo(table, lost=lost), Counts(), FOUR, trials=2)
    assert broken.rows == whole.rows
    assert broken.lost == sum(lost.values())


def test_a_policy_without_memory_looks_alike_before_and_after():
    """Zero-shot control: same goal, same policy."""
    results = play(Echo([[3] * 8]), ACTS, FOUR)
    assert {(row.episode_return, row.success_any) for row in results.rows} == {(0.0, True)}
    assert results.gain() == {"fake": 0.0}


def test_the_control_is_what_the_policy_does_without_adaptation():
    control = play(Echo([[4] * 8]), Counts(), FOUR).zero_shot()
    plain = PolicyEvaluator(Counts(), Echo([[4]]), each_from_zero([0], 1)).results(WEIGHTS)
    assert control.rows == plain.rows


# ---- gradients ------------------------------------------------------------------------------------------------------------


class Gradients:
    """Action: its parameter; in adaptation 2 + noise. ``adapt`` makes the parameter the number of steps it was given, over 1000."""

    noise_dim = 1

    def __init__(self):
        self.given, self.extra = [], 0

    def inner(self, state, batch, phase):
        raise AssertionError("that is training")

    def adapt(self, params, batch):
        assert params["w"].shape == ()
        self.given.append(batch)
        return {"w": batch.valid.sum(dim=(0, 2, 3, 4)).numpy() / SCALE}

    def act(self, params, carry, seen, noise):
        assert carry is None
        w = params["w"]
        action = np.full((len(seen.obs), 1), w) if w.ndim == 0 else w[seen.lanes][:, None]
        if noise is None:
            return action.astype(np.float32), None, {"odd": np.zeros((len(seen.obs), 2), np.float32)}
        assert w.ndim == 0, "adaptation episodes are acted with the published parameters"
        assert not seen.lanes.any()
        odd = np.stack([seen.obs[:, 0], seen.obs[:, 1]], 1)
        return (2 + noise).astype(np.float32), None, {"odd": odd}


START = Weights(3, {"w": np.float32(0.25) * np.ones((), np.float32)})


def adapted_lengths(lengths, known):
    return [length for length, place in zip(lengths, FOUR.places, strict=True) if not place.look][:known]


@pytest.mark.parametrize("lost", [{}, {(0, 6): 1}, {(1, 1): 1}])
def test_looks_act_with_what_was_made_of_the_adaptation_episodes_so_far(lost):
    assert isinstance(Gradients(), Adapting)
    table = [LENGTHS[0], LENGTHS[1][:8]]
    results = play(Echo(table, lost=lost), Gradients(), FOUR, weights=START)
    for slot, lengths in enumerate(table):
        for row in of_slot(results, slot, 2):
            if row.look:
                steps = sum(adapted_lengths(lengths, row.adapted_episodes))
                w = steps / SCALE if row.adapted_episodes else 0.25
                assert row.episode_return == pytest.approx(w * row.length, rel=1e-5)


def test_the_round_holds_exactly_the_adaptation_episodes():
    """As the policy saw and drew them; obs are (variation, env step)."""
    algorithm = Gradients()
    play(Echo([LENGTHS[0]]), algorithm, FOUR, weights=START)
    variations = [variation for variation, place in enumerate(FOUR.places) if not place.look]
    for batch, known in zip(algorithm.given, (1, 2, 4), strict=False):
        lengths = adapted_lengths(LENGTHS[0], known)
        T = max(lengths)
        assert batch.obs.shape == (1, 1, 1, known, T, 2)
        assert batch.action.shape == (1, 1, 1, known, T, 1)
        assert batch.reward.shape == batch.valid.shape == (1, 1, 1, known, T)
        for e, length in enumerate(lengths):
            obs, action, reward, valid = (part[0, 0, 0, e].numpy() for part in batch[:4])
            assert valid.tolist() == [1.0] * length + [0.0] * (T - length)
            assert obs[:length].tolist() == [[variations[e], t] for t in range(length)]
            np.testing.assert_array_equal(batch.extra["odd"][0, 0, 0, e, :length], obs[:length])
            np.testing.assert_array_equal(reward[:length], np.clip(action[:length, 0], -1, 1))
            assert not obs[length:].any() and not action[length:].any() and not reward[length:].any()
    assert (algorithm.given[2].action > 1).any(), "as drawn, outside of the bounds"


def test_slots_that_reach_a_look_together_are_adapted_together_by_how_much_they_know():
    algorithm = Gradients()
    play(Echo([[2] * 8, [2] * 8, [4, 2, 2, 2, 2, 2, 2, 2]]), algorithm, FOUR, weights=START)
    shapes = [tuple(batch.valid.shape) for batch in algorithm.given]
    assert shapes[0] == (1, 2, 1, 1, 2)
    assert {shape[3] for shape in shapes} == {1, 2, 4}


# ---- in training ----------------------------------------------------------------------------------------------------------


def test_the_evaluation_in_training_tells_outcome_control_and_cost():
    schedule, slots = Schedule.controlled(2), [0, 0, 1]
    evaluator = PolicyEvaluator(Counts(), Echo([[3] * 8] * 3), each_from_zero(slots, 2, schedule), slots)
    found = evaluator.evaluate(WEIGHTS)
    for tasks, episodes, returned in ((found.zero_shot, 2, 0.003), (found.tasks, 2, 0.021), (found.exploration, 4, 0.0075)):
        assert [len(outcome.success_any) for outcome in tasks] == [episodes] * 2
        np.testing.assert_allclose([outcome.episode_return.mean() for outcome in tasks], returned, rtol=1e-5)
    again = evaluator.evaluate(WEIGHTS)
    np.testing.assert_array_equal(again.tasks[0].episode_return, found.tasks[0].episode_return)


def test_exploration_is_the_same_in_every_evaluation():
    evaluator = PolicyEvaluator(Gradients(), Echo([[3] * 8]), each_from_zero([0], 2, Schedule.controlled(2)), noise_seed=5)
    one, other = (evaluator.results(START).rows for _ in range(2))
    assert one == other
    drawn = evaluator.results(START, rng=np.random.default_rng(1)).exploration().rows
    assert drawn != [row for row in one if not row.look]
