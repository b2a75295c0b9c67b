"""Reptile-C2F-ARM: the wrapper around networks with eyes, in the textbook's form and in that of the authors' code."""

import numpy as np
import pytest
import torch

import algos
from core.abilities import Encoding
from core.tree import map_tree, named_leaves
from tests.algos.made import FARM, SIGHT, batch, made, params, seen


def reptile(tasks: int = 2, **changes):
    return made("reptile:c2farm", tasks, **{"inner_updates": 5} | changes)


def inner(**changes):
    """The same inside, without a wrapper: of one task."""
    return made("c2farm", 1, **changes)


def run(algorithm, state, updates: int):
    """A copy of the state before and after each update, on batches of one task."""
    generator, states = torch.Generator().manual_seed(0), [map_tree(torch.clone, state)]
    for i in range(updates):
        algorithm.update(state, batch(inner(), 1, i), algorithm.noise(state, [generator]))
        states.append(map_tree(torch.clone, state))
    return states


def equal(one, other) -> bool:
    return all(torch.equal(a, b) for (_, a), (_, b) in zip(named_leaves(one), named_leaves(other), strict=True))


def test_the_authors_step_is_a_tenth_of_where_a_task_began_and_the_rest_of_where_it_ended():
    """``theta <- theta_5 + 0.1 (theta_0 - theta_5)``; targets, moments and the count of Adam's steps go on as if nothing were."""
    outer = reptile(meta_step=0.9, meta_iterations=10, meta_step_end=1.0, optimizer="carry", target="stays")
    begun, *_, fourth, after = run(outer, outer.init([0]), 5)
    alone = inner()
    free = run(alone, alone.init([0]), 5)
    assert equal(fourth.inner, free[4])
    for name, theta in after.theta.params.items():
        start, end = begun.theta.params[name].double(), free[5].params[name].double()
        torch.testing.assert_close(theta.double(), 0.1 * start + 0.9 * end, atol=1e-7, rtol=1e-6)
        assert torch.equal(after.inner.params[name], theta)
    assert any(not torch.equal(after.theta.params[name], free[5].params[name]) for name in free[5].params)
    for part in ("target", "adam", "updates"):
        assert equal(getattr(after.inner, part), getattr(free[5], part)), part
    assert after.inner.updates.item() == 5


def test_in_the_textbooks_form_targets_move_too_and_the_optimiser_begins_anew():
    outer = reptile(meta_step=0.5)
    begun, *_, after = run(outer, outer.init([0]), 5)
    alone = inner()
    free = run(alone, alone.init([0]), 5)[-1]
    for part in ("params", "target"):
        for name, theta in getattr(after.theta, part).items():
            torch.testing.assert_close(theta, torch.lerp(getattr(begun.theta, part)[name], getattr(free, part)[name], 0.5))
    assert not any(leaf.any() for _, leaf in named_leaves((after.inner.adam, after.inner.updates)))


def test_a_batch_is_of_one_task_that_is_held_and_keeps_what_else_the_plan_draws():
    inside = algos.find("c2farm").Config(**{**FARM, "demos": 0.25, "tasks_per_batch": 2})
    plan = reptile(3, settings=inside).plan
    assert (plan.tasks, plan.hold, plan.batch_size) == (1, 5, 4)
    assert (plan.demos, plan.priority, plan.weight) == (0.25, 0.7, 0.5)


def test_priorities_of_the_task_at_hand_reach_replay():
    told = []
    for each in (reptile(), inner()):
        state = each.init([0])
        told.append(each.update(state, batch(inner(), 1), each.noise(state, [torch.Generator()]))["priority"])
    assert torch.equal(*told)
    assert told[0].shape == (1, 1, 4)


def test_what_is_seen_and_demonstrated_is_encoded_as_inside():
    outer, alone = reptile(), inner()
    assert isinstance(outer, Encoding)
    assert (outer.encoded(), outer.fields()) == (alone.encoded(), alone.fields())
    demo = SIGHT.demonstrate(1)
    chains = [each.encode_demo(demo, np.random.default_rng(0)) for each in (outer, alone)]
    assert len(chains[0]) == len(chains[1]) > 0
    for one, other in zip(*chains, strict=True):
        assert {name: value.tobytes() for name, value in one.items()} == {name: value.tobytes() for name, value in other.items()}
    own, now = params(outer, outer.init([0])), seen(2, [0, 1], sight=True)
    for one, other in (
        (outer.encode(own, now), alone.encode(own, now)),
        (outer.act(own, None, now, None)[2], alone.act(own, None, now, None)[2]),
    ):
        assert {name: value.tobytes() for name, value in one.items()} == {name: value.tobytes() for name, value in other.items()}


def test_around_what_has_no_eyes_it_has_none():
    assert not isinstance(made("reptile", 2), Encoding)


@pytest.mark.parametrize("tasks", [1, 3])
def test_actors_act_with_theta_until_a_task_ends(tasks):
    outer = reptile(tasks)
    state = outer.init([0])
    before = {name: leaf.copy() for name, leaf in params(outer, state).items()}
    for i in range(5):
        assert all(np.array_equal(params(outer, state)[name], leaf) for name, leaf in before.items())
        outer.update(state, batch(outer, tasks, i), outer.noise(state, [torch.Generator()]))
    assert any(not np.array_equal(params(outer, state)[name], leaf) for name, leaf in before.items())
