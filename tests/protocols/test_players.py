"""Players hand every slot the action that its own policy gives, sampled only where asked."""

import numpy as np
import pytest

from protocols.players import AlgorithmPlayer, FunctionPlayer
from tests.protocols.fakes import WEIGHTS

OBS = np.arange(10, dtype=np.float32).reshape(5, 2)
TASKS = [2, 0, 2, 1, 0]


class Told:
    """Action: (task, obs[0], noise[0] or 9), over 10."""

    noise_dim = 3

    def act(self, params, carry, seen, noise):
        last = np.full(len(seen.obs), 9.0) if noise is None else noise[:, 0]
        return np.stack([seen.tasks, seen.obs[:, 0], last], 1).astype(np.float32) / 10, carry, {}


def test_every_slot_acts_as_its_own_task():
    actions = AlgorithmPlayer(Told(), WEIGHTS, TASKS, action_dim=3).act({"obs": OBS})
    np.testing.assert_allclose(actions, np.stack([TASKS, OBS[:, 0], [9] * 5], 1) / 10, rtol=1e-6)
    assert AlgorithmPlayer(Told(), WEIGHTS, [3] * 5, action_dim=3).act({"obs": OBS})[:, 0].tolist() == [np.float32(0.3)] * 5


@pytest.mark.parametrize("tasks", [TASKS, [1] * 5])
def test_sampled_noise_is_normal_of_the_given_generator_and_a_slots_own(tasks):
    player = AlgorithmPlayer(Told(), WEIGHTS, tasks, np.random.default_rng(3), action_dim=3)
    expected = np.clip(np.random.default_rng(3).standard_normal((2, 5, 3), np.float32) / 10, -1, 1)
    np.testing.assert_array_equal([player.act({"obs": OBS})[:, 2], player.act({"obs": OBS})[:, 2]], expected[..., 0])
    assert player.settings == {"version": 7, "actions": "sampled"}
    assert AlgorithmPlayer(Told(), WEIGHTS, tasks, action_dim=3).settings["actions"] == "deterministic"


def test_functions_act_on_their_own_observation_within_bounds():
    actions = FunctionPlayer([lambda obs, k=k: obs * 0.1 * k for k in range(5)]).act({"obs": OBS})
    np.testing.assert_allclose(actions, np.clip(OBS * 0.1 * np.arange(5)[:, None], -1, 1), rtol=1e-6)
    assert actions.dtype == np.float32
