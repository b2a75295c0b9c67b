"""A demonstration in the memory of PEARL-C2F-ARM: the posterior is the product by hand, and it counts once."""

from typing import Any

import numpy as np
import pytest
import torch

from algos.lib import image_context
from algos.lib.image_context import Config, encode
from core.demos import chains
from core.poses import action_of, target_of
from tests.algos import made as small
from tests.algos.made import made, params, seen

SIGHT: Any = small.SIGHT
OWN = Config(latent=3, context=3, recent=4)


@pytest.fixture(scope="module")
def algorithm() -> Any:
    return made("c2farm", 2, inferred=OWN, explore=0.0)


def transitions(algorithm: Any, demo: Any) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Image, action, reward of each keyframe, by hand."""
    whole, found = chains(demo)[0], []
    for step, at in enumerate(whole.at[:-1]):
        done = demo.actions[step] if demo.actions is not None else action_of(SIGHT.keyframes, whole.poses[step], whole.opened[step])
        action = algorithm.space.action(algorithm.space.choice(target_of(SIGHT.keyframes, done)))
        found.append((demo.observations["front_rgb"][at], action, float(step == len(whole.reward) - 1)))
    return found


def posterior(own: dict, told: list) -> np.ndarray:
    """The mean of the product of their Gaussians."""
    encoder = {name.removeprefix("encoder/"): torch.from_numpy(leaf) for name, leaf in own.items() if name.startswith("encoder/")}
    columns = zip(zip(*told, strict=True), ("u1", "f4", "f4"), strict=True)
    rgb, action, reward = (torch.from_numpy(np.stack(column).astype(kind)) for column, kind in columns)
    mean, variance = encode(encoder, rgb, action, reward, OWN)
    return ((mean / variance).sum(0) / (1 / variance).sum(0)).numpy()


@pytest.mark.parametrize("count", [1, 2])
def test_the_posterior_after_demonstrations(algorithm, count):
    """Of two demonstrations of three keyframes each the memory has room for four, and a context is the newest three."""
    own, demos = params(algorithm, algorithm.init([0])), [SIGHT.demonstrate(number) for number in range(count)]
    told = [one for demo in demos for one in transitions(algorithm, demo)]
    assert len(told) == 3 * count
    assert [reward for _, _, reward in told] == [0.0, 0.0, 1.0] * count
    carry = algorithm.recall(own, demos)
    assert {len(part) for part in carry.values()} == {1}
    first = seen(1, sight=True)
    action, carry, _ = algorithm.act(own, carry, first, None)
    np.testing.assert_allclose(carry["z"][0], posterior(own, told[-3:]), rtol=1e-4, atol=1e-6)
    after = first._replace(trial=np.zeros(1, bool), action=action, reward=np.ones(1, np.float32))
    told.append((first.fields["front_rgb"][0], action[0], 1.0))
    _, later, _ = algorithm.act(own, carry, after, None)
    np.testing.assert_allclose(later["z"][0], posterior(own, told[-3:]), rtol=1e-4, atol=1e-6)
    _, fresh, _ = algorithm.act(own, later, first, None)
    assert (fresh["z"] == 0).all() and fresh["count"] == 0, "a further trial begins with nothing"


def test_without_demonstrations_nothing_has_changed(algorithm):
    """Three steps of one trial, beside a simulator whose trial begins anew at the second."""
    own, obs = params(algorithm, algorithm.init([1])), seen(2, sight=True)
    _, carry, _ = algorithm.act(own, None, obs, None)
    told = []
    for step in range(2):
        action = np.full((2, SIGHT.spec.action_dim), 0.1 * step, np.float32)
        told.append((obs.fields["front_rgb"][0], action[0], 0.5))
        begins = np.array([False, step == 1])
        now = obs._replace(trial=begins, episode=np.ones(2, bool), action=action, reward=np.full(2, 0.5, np.float32))
        _, carry, _ = algorithm.act(own, carry, now, None)
    known = [told[1], told[0], told[1]]  # three of two: the newest, the one before, the newest again
    np.testing.assert_allclose(carry["z"][0], posterior(own, known), rtol=1e-4, atol=1e-6)
    assert (carry["z"][1] == 0).all()
    assert image_context.memory(1, (8, 8, 3), OWN)["recalled"].tolist() == [0]
