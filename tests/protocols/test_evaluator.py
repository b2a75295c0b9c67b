"""The evaluator counts whole episodes, as planned for every simulator, and is not fooled by quick successes or lost simulators."""

from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from core.errors import ConfigError, SimulatorError
from protocols.evaluator import Evaluator, PolicyEvaluator
from protocols.plan import Plan, each_from_zero, from_zero, per_goal
from protocols.players import FunctionPlayer
from protocols.schedule import Schedule
from simulators.pool import SimulatorPool
from tests.protocols.fakes import ACTS, WEIGHTS, Fake

NEVER = -1


def idle(size: int) -> FunctionPlayer:
    return FunctionPlayer([lambda obs: [0.0]] * size, "idle")


class Killer(FunctionPlayer):
    """Moves toward what the second half of the observation says; kills a process before the step of that number."""

    def __init__(self, victim: psutil.Process | None, step: int) -> None:
        super().__init__([lambda obs: obs[4:] - obs[:4]] * 4)
        self.victim, self.left = victim, step

    def act(self, obs):
        self.left -= 1
        if self.left == 0 and self.victim is not None:
            self.victim.kill()
            self.victim.wait()
        return super().act(obs)


class Learner:
    """An adaptive player that notes what it is told, and succeeds (by the fake's table) whatever it does."""

    def __init__(self, size: int) -> None:
        self.settings = {"actions": "deterministic", "version": 3}
        self.seen, self.at_begin, self.size = np.zeros(size, int), [], size

    def begin(self, slots):
        self.at_begin.append((slots.copy(), self.seen.copy()))
        self.seen[slots] = 0

    def act(self, obs):
        return np.zeros((len(obs["obs"]), 1), np.float32)

    def observe(self, step):
        self.seen += step.terminated | step.truncated


# ---- what training asks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("good", [1, 5, 10])
def test_quick_successes_do_not_fill_the_quota(good):
    """Taking the first 60 episodes to end would report 0.17 to 0.75 far too high; the truth is good / 20."""
    fake = Fake([[100] if i < good else [NEVER] for i in range(20)])
    result = PolicyEvaluator(ACTS, fake, from_zero(20, 60)).evaluate(WEIGHTS)
    (only,) = result.tasks
    assert len(only.success_any) == 60
    assert only.success_any.mean() == pytest.approx(good / 20)
    assert (result.version, only.task) == (7, "fake")


def test_first_success_return_and_last():
    (result,) = PolicyEvaluator(ACTS, Fake([[3], [NEVER]], horizon=10), from_zero(2, 4)).evaluate(WEIGHTS).tasks
    assert result.first_success.tolist() == [3, 3, -1, -1]
    assert result.episode_return.tolist() == [3, 3, 10, 10]
    assert result.success_last.tolist() == result.success_any.tolist() == [True, True, False, False]


def test_any_and_last_success_differ_where_success_does_not_stop():
    """Success holds from step 3 to 5, and from 8 to the end at 10."""
    (result,) = PolicyEvaluator(ACTS, Fake([[3], [8]], horizon=10, stops=False), from_zero(2, 2)).evaluate(WEIGHTS).tasks
    assert (result.success_any.tolist(), result.success_last.tolist()) == ([True, True], [False, True])
    assert result.first_success.tolist() == [3, 8]


def test_uneven_quota_and_more_simulators_than_episodes():
    for simulators, episodes in ((3, 7), (9, 4)):
        made = PolicyEvaluator(ACTS, Fake([[2]] * simulators, horizon=5), from_zero(simulators, episodes))
        assert len(made.evaluate(WEIGHTS).tasks[0].success_any) == episodes


def test_actions_are_deterministic_unless_sampling_is_asked_for():
    seen = []

    def act(params, carry, now, noise):
        seen.append(noise)
        return np.zeros((len(now.obs), 1), np.float32), carry, {}

    evaluator = PolicyEvaluator(SimpleNamespace(act=act, noise_dim=1), Fake([[2]], horizon=5), from_zero(1, 1))
    assert evaluator.results(WEIGHTS).settings["fake"]["actions"] == "deterministic"
    assert seen == [None, None]
    told = evaluator.results(WEIGHTS, {"seed": 3}, np.random.default_rng(1)).settings["fake"]
    assert (told["actions"], told["seed"], told["version"]) == ("sampled", 3, 7)
    np.testing.assert_array_equal(seen[2:], np.random.default_rng(1).standard_normal((2, 1, 1), np.float32))


def test_every_evaluation_meets_the_same_episodes():
    evaluator = PolicyEvaluator(ACTS, Fake([[1, 2, 3, NEVER]], horizon=5), from_zero(1, 3))
    assert [evaluator.evaluate(WEIGHTS).tasks[0].first_success.tolist() for _ in range(2)] == [[1, 2, 3]] * 2
    evaluator.close()
    assert evaluator.evaluator.simulators.closed


def test_many_tasks_are_one_evaluation_each_with_its_own_index_and_quota():
    """Two tasks may have one name; the policy is told the index of each simulator's task."""
    told = []

    def act(params, carry, seen, noise):
        told.append(seen.tasks.tolist())
        return np.zeros((len(seen.obs), 1), np.float32), carry, {}

    slots = [0, 0, 1, 2]
    fake = Fake([[1, 2], [3, 4], [NEVER, NEVER], [2, NEVER]], horizon=5, tasks=["a", "a", "b", "a"])
    evaluator = PolicyEvaluator(SimpleNamespace(act=act), fake, each_from_zero(slots, 3), slots)
    a, b, again = evaluator.evaluate(WEIGHTS).tasks
    assert (a.task, b.task, again.task) == ("a", "b", "a")
    assert a.first_success.tolist() == [1, 2, 3]
    assert b.first_success.tolist() == [NEVER] * 3
    assert again.first_success.tolist() == [2, NEVER, 2]
    assert told
    assert all(seen == slots for seen in told)


@pytest.mark.parametrize("simulators", [1, 2, 3, 5])
def test_goals_in_turn_are_each_played_once_however_many_simulators_there_are(simulators):
    """The fakes tell by the time of success which variation was played."""
    slots = [task for task in range(2) for _ in range(simulators)]
    fake = Fake([[1, 2, 3, 4, 5]] * len(slots), horizon=9)
    result = PolicyEvaluator(ACTS, fake, per_goal(slots, 5), slots).evaluate(WEIGHTS)
    assert [outcome.first_success.tolist() for outcome in result.tasks] == [[1, 2, 3, 4, 5]] * 2


# ---- quota ----------------------------------------------------------------------------------------------------------------


def test_a_plan_is_even_whole_and_keeps_trials_together():
    tasks = ["a", "b", "a", "a"]
    plan = per_goal(tasks, {"a": 7, "b": 2}, Schedule(evaluation=2))
    assert (plan.first.tolist(), plan.episodes.tolist(), plan.trial) == ([0, 0, 5, 10], [5, 4, 5, 4], 1)
    adaptive = per_goal(tasks, {"a": 7, "b": 2}, Schedule.controlled(1))
    assert (adaptive.first.tolist(), adaptive.episodes.tolist(), adaptive.trial) == ([0, 0, 9, 15], [9, 6, 6, 6], 3)
    drawn = each_from_zero(tasks, 4, Schedule.controlled(1))
    assert (drawn.first.tolist(), drawn.episodes.tolist()) == ([0] * 4, [6, 12, 3, 3])
    assert from_zero(3, 7).episodes.tolist() == [3, 2, 2]
    assert each_from_zero([4, 4, 2], 3).episodes.tolist() == [2, 1, 3]


@pytest.mark.parametrize(
    "plan",
    [
        Plan(np.zeros(3, int), np.ones(3, int)),
        Plan(np.zeros(2, int), np.zeros(2, int)),
        Plan(np.array([0, -1]), np.ones(2, int)),
        Plan(np.zeros(2, int), np.array([3, 4]), Schedule.controlled(1)),
    ],
)
def test_an_impossible_plan_is_refused(plan):
    with pytest.raises(ConfigError):
        Evaluator(Fake([[1], [1]]), plan)


def test_every_goal_of_every_task_counts_once_at_any_speed():
    tasks = ["quick", "slow", "quick", "mixed"]
    table = [[2] * 12, [NEVER] * 12, [1] * 12, [3, NEVER] * 6]
    fake = Fake(table, horizon=30, tasks=tasks)
    results = Evaluator(fake, per_goal(tasks, 6, Schedule(evaluation=2)), seeds=[5, 6, 7, 8]).evaluate(idle(4), {"run": "r"})
    played = [(row.task, row.variation) for row in results.rows]
    assert sorted(played) == sorted((task, v) for task in set(tasks) for v in range(12))
    assert results.means() == {"quick": 1.0, "slow": 0.0, "mixed": 0.5}
    assert {row.simulator_seed for row in results.of("quick").rows} == {5, 7}
    assert [row.length for row in results.of("mixed").rows] == [3, 30] * 6
    assert results.settings["slow"] == {"horizon": 30, "adaptation": 0, "evaluation": 2, "actions": "idle", "run": "r"}


def test_rows_of_one_task_in_two_versions_are_refused():
    fake = Fake([[1], [1]], tasks=["a", "a"])
    fake.specs[1] = fake.specs[1].__class__("a", fake.spec.observation, 1, fake.horizon, (("reward", "v1"),))
    with pytest.raises(ConfigError, match="labels"):
        Evaluator(fake, from_zero(2, 2)).evaluate(idle(2))


# ---- lost simulators ------------------------------------------------------------------------------------------------------


def test_a_lost_episode_is_played_again_and_counts_once():
    fake = Fake([[5, NEVER, 7, NEVER], [NEVER] * 4], horizon=10, lost={(0, 0): 1, (0, 2): 2, (1, 3): 1})
    results = Evaluator(fake, from_zero(2, 8)).evaluate(idle(2))
    assert [row.variation for row in results.rows] == [0, 1, 2, 3] * 2
    assert [row.first_success for row in results.rows] == [5, -1, 7, -1, -1, -1, -1, -1]
    assert [row.episode_return for row in results.rows] == [5, 10, 7, 10, 10, 10, 10, 10], "nothing of a lost episode is left"
    assert results.lost == 4


def test_an_idle_slot_that_is_lost_costs_nothing():
    fake = Fake([[1, 1, 1], [NEVER] * 3], horizon=10, lost={(0, v): 9 for v in range(3, 30)})
    fake.first = np.array([[1, 1, 1] + [NEVER] * 40, [NEVER] * 43])
    results = Evaluator(fake, from_zero(2, 6)).evaluate(idle(2))
    assert (len(results.rows), results.lost, fake.resets) == (6, 0, 1)


def test_a_variation_that_a_reset_skipped_is_played_again():
    fake = Fake([[2, 3, 4]], horizon=10, skips={(0, 0): 2, (0, 1): 1})
    assert [row.first_success for row in Evaluator(fake, from_zero(1, 3)).evaluate(idle(1)).rows] == [2, 3, 4]


def test_an_episode_that_is_always_lost_ends_the_evaluation():
    fake = Fake([[3], [3]], horizon=10, lost={(1, 1): 10**9})
    with pytest.raises(SimulatorError, match=r"fake, simulator 1, variation 1: lost in each of 5") as caught:
        Evaluator(fake, from_zero(2, 6)).evaluate(idle(2))
    assert not caught.value.retryable
    assert fake.resets == 6, "the first pass, which passed by it, then five that began with it"


def test_simulators_that_never_go_on_are_found_out():
    fake = Fake([[3]], horizon=10)
    fake.variations = np.broadcast_to(0, 1).copy()
    recv = fake.recv

    def stuck():
        step = recv()
        fake.variations[:] = 0
        return step

    fake.recv = stuck
    with pytest.raises(SimulatorError, match="another variation"):
        Evaluator(fake, from_zero(1, 2)).evaluate(idle(1))


# ---- adaptation -----------------------------------------------------------------------------------------------------------


TRIAL = Schedule.controlled(1)
"""look, adaptation episode, look"""
PARTS = [(0, True), (0, False), (1, True)]
"""adaptation episodes before it, whether it is a look"""


def parts(results):
    return [(row.variation, (row.adapted_episodes, row.look)) for row in results.rows]


def test_a_trial_is_zero_shot_then_adapted_and_the_gain_is_their_difference():
    """Trials of look, adaptation, look, adaptation, look; one goal of slot 1 succeeds from the start."""
    fails, first = [NEVER, 3, NEVER, NEVER, 4], [2, NEVER, 2, 2, 2]
    fake = Fake([fails * 2, first + fails], horizon=9, tasks=["a", "b"])
    results = Evaluator(fake, per_goal(["a", "b"], 2, Schedule.looked_at(2))).evaluate(Learner(2))
    assert [(row.adapted_episodes, row.look) for row in results.rows] == [(0, True), (0, False), (1, True), (1, False), (2, True)] * 4
    assert results.zero_shot().means() == {"a": 0.0, "b": 0.5}
    assert results.adapted().means() == {"a": 1.0, "b": 1.0}
    assert results.gain() == {"a": 1.0, "b": 0.5}
    assert results.after(1).means() == {"a": 0.0, "b": 0.5}
    assert results.exploration().means() == {"a": 0.5, "b": 0.5}
    assert results.looks == (0, 1, 2)
    assert results.settings["a"]["looks"] == [0, 1, 2]
    with pytest.raises(ConfigError, match="mixed"):
        results.means()


def test_a_player_forgets_exactly_when_a_trial_begins():
    player = Learner(2)
    fake = Fake([[3] * 6, [5] * 6], horizon=9)
    Evaluator(fake, Plan(np.zeros(2, int), np.full(2, 6), TRIAL)).evaluate(player)
    slots, seen = (np.array(column) for column in zip(*player.at_begin, strict=True))
    assert slots[0].all() and (seen[0] == 0).all()
    for i, begins in ((0, 3), (1, 2)):  # until the slower has played its six, the quicker has ended ten
        assert seen[1:][slots[1:, i], i].tolist() == [3] * begins


def test_a_loss_in_a_trial_costs_the_whole_trial():
    """What an adaptive player saw of the broken trial may not help it in the repetition."""
    fake = Fake([[4] * 9], horizon=9, lost={(0, 4): 1})
    player = Learner(1)
    results = Evaluator(fake, Plan(np.zeros(1, int), np.array([9]), TRIAL)).evaluate(player)
    assert parts(results) == [(v, PARTS[v % 3]) for v in range(9)]
    assert (results.lost, fake.resets) == (1, 2)
    assert [int(seen[0]) for _, seen in player.at_begin] == [0, 3, 1, 1, 3, 0, 3], "it forgets at the loss, too"


def test_a_repeated_trial_does_not_go_on_from_the_one_that_was_cut_off():
    """While the slow slot ends its pass, the quick one has begun a trial that nobody needs; then it repeats its first."""
    fake = Fake([[9] * 6, [4] * 6], horizon=9, lost={(1, 1): 1})
    results = Evaluator(fake, Plan(np.zeros(2, int), np.array([3, 6]), TRIAL)).evaluate(Learner(2))
    assert [row.variation for row in results.rows] == [0, 1, 2, 0, 1, 2, 3, 4, 5]
    assert fake.resets == 2


def test_a_trial_is_not_put_together_from_two():
    """Lost in the second trial, and thrown into the midst of the third: what is left of them has the length of one."""
    fake = Fake([[4] * 9], horizon=9, lost={(0, 4): 1}, skips={(0, 5): 1, (0, 6): 1})
    results = Evaluator(fake, Plan(np.zeros(1, int), np.array([9]), TRIAL)).evaluate(Learner(1))
    assert parts(results) == [(v, PARTS[v % 3]) for v in range(9)]


def test_a_trial_that_a_reset_entered_in_its_midst_does_not_count():
    fake = Fake([[4] * 6], horizon=9, skips={(0, 0): 1})
    results = Evaluator(fake, Plan(np.zeros(1, int), np.array([6]), TRIAL)).evaluate(Learner(1))
    assert parts(results) == [(v, PARTS[v % 3]) for v in range(6)]
    assert fake.resets == 2


# ---- real worker processes ------------------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_changes_nothing_but_the_count_of_losses():
    """Slots of two tasks; the worker that is killed has one of each."""
    names, options = ["dummy:counter", "dummy:point"] * 2, {"horizon": 5, "action_dim": 4}
    found = {}
    for kill in (False, True):
        with SimulatorPool(names, [1, 2, 3, 4], options, workers=2) as pool:
            player = Killer(psutil.Process(pool._crew.processes[0]._child.pid) if kill else None, step=8)
            found[kill] = Evaluator(pool, Plan(np.zeros(4, int), np.array([4, 3, 4, 3])), seeds=[1, 2, 3, 4]).evaluate(player)
    assert found[True].rows == found[False].rows
    assert (found[False].lost, found[True].lost) == (0, 2)
    assert [row.task for row in found[True].rows] == [name for name, n in zip(names, (4, 3, 4, 3), strict=True) for _ in range(n)]


def test_a_real_pool_plays_the_plan_and_says_which_episode_cannot_be_had():
    """Variation 1 raises whenever it is played: the pool goes on, the evaluation cannot be whole and says which episode."""
    options = {"horizon": 4, "fail_at_step": 2, "fail_variation": 1}
    pool = SimulatorPool("dummy:counter", [1, 2], options, workers=2, max_failures=50)
    evaluator = Evaluator(pool, Plan(np.array([2, 5]), np.array([3, 2])), seeds=[1, 2])
    try:
        rows = evaluator.evaluate(FunctionPlayer([lambda obs: np.zeros(2)] * 2)).rows
        assert [(row.variation, row.length, row.episode_return) for row in rows] == [(v, 4, 10.0) for v in (2, 3, 4, 5, 6)]
        evaluator.plan = from_zero(2, 4)
        with pytest.raises(SimulatorError, match="variation 1: lost in each"):
            evaluator.evaluate(FunctionPlayer([lambda obs: np.zeros(2)] * 2))
    finally:
        evaluator.close()
