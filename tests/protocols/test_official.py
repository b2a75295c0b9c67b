"""Meta-World's count, held against Meta-World's own function; and ours, which reads the truth where that one does not.

The fake: success at step 100 of 500 or never, the same whenever a goal is played again; 5 task names with 4 goals each, as in ML10's test.
"""

import numpy as np
import pytest

from core.errors import ConfigError
from protocols.evaluator import Evaluator
from protocols.official import Ending, first_to_end, official_success, replay
from protocols.plan import from_zero, per_goal
from protocols.players import FunctionPlayer
from protocols.rows import Results, Row
from tests.protocols.fakes import Fake

NAMES = {
    "reach-v3": "SawyerReachEnvV3",
    "push-v3": "SawyerPushEnvV3",
    "pick-place-v3": "SawyerPickPlaceEnvV3",
    "door-open-v3": "SawyerDoorEnvV3",
    "drawer-close-v3": "SawyerDrawerCloseEnvV3",
}
GOALS, QUICK, HORIZON = 4, 100, 500
TASKS = [task for task in NAMES for _ in range(GOALS)]
NOTHING = FunctionPlayer([lambda obs: [0.0]] * len(TASKS))


class VectorFake:
    """What Meta-World's evaluation asks of a vector of environments; a finished one begins again in the same step."""

    def __init__(self, first_success, horizon):
        self.first, self.horizon, self.num_envs = np.asarray(first_success), horizon, len(first_success)

    def get_attr(self, name):
        return {"terminate_on_success": [False] * self.num_envs, "task_name": [NAMES[task] for task in TASKS]}[name]

    def call(self, name, *args):
        assert name == "toggle_terminate_on_success"

    def reset(self):
        self.t = np.zeros(self.num_envs, int)
        return np.zeros((self.num_envs, 2)), {}

    def step(self, actions):
        self.t += 1
        terminated = self.t == self.first
        truncated = self.t == self.horizon
        ended = terminated | truncated
        final = {"episode": {"r": self.t.astype(float)}, "success": terminated.astype(float)}
        self.t = np.where(ended, 0, self.t)
        return np.zeros((self.num_envs, 2)), np.ones(self.num_envs), terminated, truncated, {"final_info": final}


class Idle:
    def eval_action(self, observations):
        return np.zeros((len(observations), 1))

    def reset(self, mask): ...


def real(first_success, horizon, episodes=3):
    """Meta-World's own function: (success, by task)."""
    evaluation = pytest.importorskip("metaworld.evaluation").evaluation
    success, _, by_task, _ = evaluation(Idle(), VectorFake(first_success, horizon), num_episodes=episodes)
    return success, by_task


def ours(first_success, horizon, stops=True) -> Results:
    """Our evaluation of the same: one simulator per goal, three episodes each."""
    results = Evaluator(Fake(np.reshape(first_success, (-1, 1)), horizon, stops=stops, tasks=TASKS), from_zero(len(TASKS), 60))
    return results.evaluate(NOTHING)


def rows_of(first_success, horizon, **settings) -> Results:
    """One episode per goal, as a plan per goal gives it."""
    rows = [Row(t, i % GOALS, 0, 0, f > 0, f > 0, f, horizon, 0.0) for i, (t, f) in enumerate(zip(TASKS, first_success, strict=True))]
    told = {"horizon": horizon, "adaptation": 0, "evaluation": 1} | settings
    return Results(tuple(rows), dict.fromkeys(NAMES, told))


def solvable(rng, p, quick=QUICK):
    return np.where(rng.random(len(TASKS)) < p, quick, -1)


@pytest.mark.metaworld
@pytest.mark.parametrize("p", [0.05, 0.12, 0.24, 0.48])
def test_ours_reads_the_truth_where_meta_world_does_not(p):
    rng = np.random.default_rng(3)
    for _ in range(2):
        firsts = solvable(rng, p)
        truth = (firsts > 0).mean()
        results = ours(firsts, HORIZON)
        assert len(results.rows) == 60
        assert results.column("success_any").mean() == truth
        assert np.mean(list(results.means().values())) == pytest.approx(truth, abs=1e-12)
        success, by_task = real(firsts, HORIZON)
        count = official_success(rows_of(firsts, HORIZON))
        assert (count.success, count.by_task) == (pytest.approx(success, abs=1e-12), by_task)
        assert (count.success > truth) == (truth > 0)


@pytest.mark.metaworld
def test_the_count_is_meta_worlds_exactly_at_any_speeds():
    """Ties within a step, quotas that successes and failures share, success at the very horizon; also where quick is not so quick."""
    rng = np.random.default_rng(0)
    shared = 0
    for _ in range(150):
        firsts = np.where(rng.random(20) < rng.random(), rng.integers(1, 13, 20), -1)
        episodes = int(rng.integers(1, 8))
        success, by_task = real(firsts, 12, episodes)
        count = official_success(rows_of(firsts, 12), episodes=episodes)
        assert count.by_task == by_task
        assert count.success == pytest.approx(success, abs=1e-12)
        shared += any(0 < share < 1 for share in by_task.values())
    assert shared > 50, "else the order within the quota was never put to the test"


@pytest.mark.parametrize(("p", "reported"), [(0.05, 0.17), (0.12, 0.41), (0.24, 0.69), (0.48, 0.93)])
def test_what_it_reports_for_true_values(p, reported):
    """On average over which goals are solvable; the count is 1 for a task with any: 1 - (1 - p)^4."""
    rng = np.random.default_rng(1)
    mean = np.mean([official_success(rows_of(solvable(rng, p), HORIZON)).success for _ in range(1500)])
    assert mean == pytest.approx(reported, abs=0.035)
    assert mean == pytest.approx(1 - (1 - p) ** 4, abs=0.02)


def test_rows_of_episodes_that_go_on_after_success_give_the_same():
    rng = np.random.default_rng(5)
    fakes = [[rng.integers(1, 12) if rng.random() < 0.4 else -1 for _ in range(GOALS)] for _ in NAMES]
    counts = []
    for stops in (True, False):
        simulators = Fake(fakes, 12, stops=stops, tasks=list(NAMES))
        results = Evaluator(simulators, per_goal(list(NAMES), GOALS)).evaluate(FunctionPlayer([lambda obs: [0.0]] * 5))
        counts.append(official_success(results))
    assert counts[0] == counts[1] == official_success(rows_of(np.ravel(fakes), 12))


def test_vectors_of_some_goals_at_once_are_averaged():
    """Alone, a solved goal counts as it should; in twos it fills the quota of its pair."""
    results = rows_of([QUICK, -1, -1, -1] * 5, HORIZON)
    assert [official_success(results, goals_at_once=n).success for n in (1, 2, 4)] == [0.25, 0.5, 1.0]
    assert official_success(results).success == 1.0
    with pytest.raises(ConfigError, match="goals per task"):
        official_success(results, goals_at_once=3)


def test_after_adaptation_every_trial_is_a_goal():
    """Trials of five episodes, two of them after adaptation: the goal is the trial, not the variation."""
    parts = [(0, True), (0, True), (0, False), (1, True), (1, True)]
    rows = [
        Row("a", 5 * goal + k, known, 0, False, False, 100 if goal == 0 and known else -1, 500, 0.0, look)
        for goal in range(4)
        for k, (known, look) in enumerate(parts)
    ]
    results = Results(tuple(rows), {"a": {"horizon": 500, "adaptation": 1, "evaluation": 2, "looks": [0, 1]}})
    assert [official_success(results.adapted(), goals_at_once=n).success for n in (1, 2, 4)] == [0.25, 0.5, 1.0]
    assert official_success(results.zero_shot()).success == 0.0


def test_a_record_of_endings():
    endings = [Ending("a", 5, 1, True), Ending("a", 5, 0, False), Ending("b", 1, 2, True), Ending("a", 2, 1, True)]
    assert first_to_end(endings, 1).by_task == {"a": 1.0, "b": 1.0}
    assert first_to_end([*endings, Ending("b", 9, 2, False)], 2).by_task == {"a": 0.5, "b": 0.5}
    with pytest.raises(ConfigError, match="too few of b"):
        first_to_end(endings, 2)
    assert [e.time for e in replay(["a"], [[3, -1]], [10], 3)] == [3, 13, 16]


def test_sampled_actions_have_no_official_count():
    with pytest.raises(ConfigError, match="sampled"):
        official_success(rows_of([1] * 20, HORIZON, actions="sampled"))
