"""Players hand every slot the action that its own policy gives, sampled only where asked."""

from types import SimpleNamespace

import numpy as np
import pytest

from core.errors import ConfigError
from protocols.players import AlgorithmPlayer, FunctionPlayer
from tests.protocols.fakes import WEIGHTS

OBS = np.arange(10, dtype=np.float32).reshape(5, 2)
TASKS = [2, 0, 2, 1, 0]


class Told:
    """Action: (task, obs[0], noise[0] or 9)."""

    def act(self, params, carry, obs, noise, tasks):
        last = np.full(len(obs), 9.0) if noise is None else noise[:, 0]
        return np.stack([tasks, obs[:, 0], last], 1).astype(np.float32), carry, {}


def test_every_slot_acts_as_its_own_task():
    actions = AlgorithmPlayer(Told(), WEIGHTS, TASKS).act(OBS)
    assert actions[:, 0].tolist() == TASKS
    assert actions[:, 1].tolist() == OBS[:, 0].tolist()
    assert (actions[:, 2] == 9).all()
    assert AlgorithmPlayer(Told(), WEIGHTS, [3] * 5).act(OBS)[:, 0].tolist() == [3] * 5


@pytest.mark.parametrize("tasks", [TASKS, [1] * 5])
def test_sampled_noise_is_normal_of_the_given_generator_and_a_slots_own(tasks):
    player = AlgorithmPlayer(Told(), WEIGHTS, tasks, np.random.default_rng(3), action_dim=3)
    expected = np.random.default_rng(3).standard_normal((2, 5, 3), np.float32)
    np.testing.assert_array_equal([player.act(OBS)[:, 2], player.act(OBS)[:, 2]], expected[..., 0])
    assert player.settings == {"version": 7, "actions": "sampled"}
    assert AlgorithmPlayer(Told(), WEIGHTS, tasks).settings["actions"] == "deterministic"


def test_sampling_needs_to_know_the_number_of_actions():
    with pytest.raises(ConfigError, match="action_dim"):
        AlgorithmPlayer(SimpleNamespace(), WEIGHTS, [0], np.random.default_rng(0))  # pyright: ignore[reportArgumentType]


def test_functions_act_on_their_own_observation_within_bounds():
    actions = FunctionPlayer([lambda obs, k=k: obs * 0.1 * k for k in range(5)]).act(OBS)
    np.testing.assert_allclose(actions, np.clip(OBS * 0.1 * np.arange(5)[:, None], -1, 1), rtol=1e-6)
    assert actions.dtype == np.float32
