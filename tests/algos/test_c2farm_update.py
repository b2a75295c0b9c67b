"""One update of C2F-ARM against the equations in float64, written down once more with the plain network and torch's own optimiser."""

import pytest
import torch
import torch.nn.functional as F

from algos.lib import grids
from algos.lib.qattention import plain
from core.abilities import Encoding
from core.errors import ConfigError
from core.tree import index_tree, map_tree, named_leaves
from core.types import Stream
from tests.algos.made import SPEC, batch, made

TASKS, B = 2, 6


def c2farm(tasks: int = TASKS, **settings):
    return made("c2farm", tasks, **{"voxels": 4, "reach": (0.15,), "batch_size": B, "at_once": 5, "lr": 1e-3} | settings)


def doubled(tree):
    return map_tree(lambda leaf: leaf.double() if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() else leaf, tree)


def one_of(algorithm, *, raised: float = 0.0, kind=doubled):
    """State and batch of one seed: sparse rewards, ends, weights; targets that value voxels higher by ``raised``."""
    state, data = index_tree(algorithm.init([0]), 0), index_tree(batch(algorithm, TASKS), 0)
    g = torch.Generator().manual_seed(1)
    ends = torch.rand(data.reward.shape, generator=g) < 0.4
    reward = (torch.rand(data.reward.shape, generator=g) < 0.5).float()
    weight = torch.rand(data.reward.shape, generator=g) + 0.1
    data = data._replace(reward=reward, bootstrap=data.bootstrap * ~ends, weight=weight)
    target = {name: leaf + raised * name.endswith("/q.b") for name, leaf in state.target.items()}
    return kind(state._replace(target=target)), kind(data)


def updated(algorithm, state, data):
    return algorithm.update_one(state, data, state.updates.new_zeros(algorithm.tasks, algorithm.latent))


def same(one, other) -> bool:
    return all(torch.equal(a, b) for (_, a), (_, b) in zip(named_leaves(one), named_leaves(other), strict=True))


# ---- the oracle -------------------------------------------------------------------------------------------------------------


def parts(values, heads):
    """Voxels' Q, then each head's."""
    return [values.voxels, *values.heads.split(list(heads), 1)] if heads else [values.voxels]


def picked(values, heads, chosen):
    """(N, 1 + H) Q of what was chosen, an (N,) of each part."""
    return torch.stack([q[torch.arange(len(q)), i] for q, i in zip(parts(values, heads), chosen, strict=True)], 1)


def by_hand(algorithm, state, data, depth: int):
    """New parameters and target of one depth, d, y and loss, by the equations of ``algos.lib.coarse_to_fine`` in their order."""
    sizes, config, V = algorithm.sizes[depth], algorithm.config, algorithm.config.voxels
    here, there = ({name: leaf.flatten(0, 1) for name, leaf in side.items()} for side in (data.here, data.there))
    own = {name: p.clone().requires_grad_() for name, p in of(state.params, depth).items()}
    now, then = (grids.unpack(record, depth, V).double() for record in (here, there))
    obs, next_obs, reward, discount, w = (
        leaf.flatten(0, 1) for leaf in (data.obs, data.next_obs, data.reward, data.bootstrap, data.weight)
    )
    values = plain(own, now, obs, sizes)
    with torch.no_grad():
        online, valued = plain(own, then, next_obs, sizes), plain(of(state.target, depth), then, next_obs, sizes)
        best = [q.argmax(1) for q in parts(online, sizes.heads)]
        y = (reward + discount * picked(valued, sizes.heads, best).mean(1)).clamp(0.0, torch.inf if config.parity else 1.0)
    heads = [here["rotation"][:, axis].long() for axis in range(3)] + [here["grip"].long()] if sizes.heads else []
    q = picked(values, sizes.heads, [here["voxel"][:, depth].long(), *heads])
    d = F.smooth_l1_loss(q, y[:, None].expand_as(q), reduction="none").mean(1)
    cost = values.voxels.abs().mean(1) + (values.heads.abs().mean(1) if sizes.heads else 0.0)
    loss = (w * (d + cost)).mean()
    loss.backward()
    torch.nn.utils.clip_grad_value_(own.values(), config.clip)
    torch.optim.Adam(own.values(), lr=config.lr, weight_decay=config.weight_decay).step()
    new = {name: p.detach() for name, p in own.items()}
    target = {name: config.tau * new[name] + (1 - config.tau) * t for name, t in of(state.target, depth).items()}
    return new, target, d.detach(), y, loss.detach()


def of(params, depth: int):
    return {name.removeprefix(f"{depth}/"): leaf for name, leaf in params.items() if name.startswith(f"{depth}/")}


# ---- what it holds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parity", [False, True])
def test_an_update_is_the_equations_at_both_depths(parity):
    """Loss, targets, priorities, parameters and target networks; with and without the quirks of the authors' code."""
    algorithm = c2farm(parity=parity)
    state, data = one_of(algorithm, raised=0.5)
    new, told = updated(algorithm, state, data)
    found = [by_hand(algorithm, state, data, depth) for depth in range(2)]
    roots = []
    for depth, (params, target, d, y, loss) in enumerate(found):
        for want, have in ((params, of(new.params, depth)), (target, of(new.target, depth))):
            assert want.keys() == have.keys()
            for name in want:
                torch.testing.assert_close(have[name], want[name], atol=1e-8, rtol=1e-6, msg=f"{depth}/{name}")
        torch.testing.assert_close(told[f"loss_{depth}"], loss)
        torch.testing.assert_close(told[f"target_{depth}"], y.mean())
        torch.testing.assert_close(told[f"td_error_{depth}"], d.mean())
        assert y.max() > 1.1 if parity else y.max() == 1.0, "rewards that come with a value: the upper bound matters"
        roots.append((d + 1e-10).sqrt() / (d + 1e-10).sqrt().max())
    want = (2 * roots[0] + roots[1] if parity else roots[0] + roots[1]).reshape(TASKS, B)
    torch.testing.assert_close(told["priority"], want)
    assert algorithm.plan.priority == 0.7, "the exponent is replay's"
    assert new.updates == 1


def test_a_second_update_goes_on_with_its_moments():
    """Weight decay and clipping on: two steps of torch's Adam, on gradients that are those of the first and of the second state."""
    algorithm = c2farm(clip=1e-4, weight_decay=1e-2)
    state, data = one_of(algorithm)
    first, _ = updated(algorithm, state, data)
    second, _ = updated(algorithm, first, data)
    b1, b2 = 0.9, 0.999
    g = {name: leaf / (1 - b1) for name, leaf in first.adam.m.items()}
    assert max((g[name] - 1e-2 * state.params[name]).abs().max() for name in g) <= 1e-4 * (1 + 1e-9), "clipped before weights decay"
    for name, m in second.adam.m.items():
        more = (m - b1 * first.adam.m[name]) / (1 - b1)
        v = b2 * first.adam.v[name] + (1 - b2) * more**2
        torch.testing.assert_close(second.adam.v[name], v, atol=1e-15, rtol=1e-6)
        step = 1e-3 * (m / (1 - b1**2)) / ((v / (1 - b2**2)).sqrt() + 1e-8)
        torch.testing.assert_close(second.params[name], first.params[name] - step, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("garbage", ["numbers that are none", "whatever bits there were"])
def test_what_follows_a_terminal_state_has_no_influence(garbage):
    algorithm = c2farm()
    state, data = one_of(algorithm)
    ends = data.bootstrap == 0
    assert ends.any() and not ends.all()
    there, g = {}, torch.Generator().manual_seed(9)
    for name, column in data.there.items():
        dirt = torch.full_like(column, torch.nan) if column.is_floating_point() else column
        if garbage != "numbers that are none":
            dirt = torch.randint(0, 256, (column.numel() * column.element_size(),), generator=g, dtype=torch.uint8)
            dirt = dirt.view(column.dtype).reshape(column.shape)
        there[name] = torch.where(ends.reshape(*ends.shape, *[1] * (column.dim() - 2)), dirt, column)
    dirty = data._replace(there=there, next_obs=torch.where(ends[..., None], torch.nan, data.next_obs))
    assert same(updated(algorithm, state, data), updated(algorithm, state, dirty))


def test_how_many_rows_are_in_memory_at_once_changes_rounding_only():
    runs = []
    for at_once in (1, 5, 16):
        algorithm = c2farm(at_once=at_once, clip=0.0)
        runs.append(updated(algorithm, *one_of(algorithm)))
    for other in runs[1:]:
        for (path, a), (_, b) in zip(named_leaves(runs[0]), named_leaves(other), strict=True):
            torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-6, msg=path)


def test_a_body_of_bfloat16_learns_nearly_the_same_in_float32_parameters():
    told, states = [], []
    for body in ("float32", "bfloat16"):
        algorithm = c2farm(body=body)
        state, data = one_of(algorithm, kind=lambda tree: tree)
        new, metrics = updated(algorithm, state, data)
        assert all(leaf.dtype == torch.float32 and leaf.isfinite().all() for _, leaf in named_leaves(new))
        told.append(metrics)
        states.append(new)
    assert not same(*states)
    for name in ("loss_0", "loss_1"):
        torch.testing.assert_close(told[1][name], told[0][name], rtol=0.05, atol=0)
        assert told[1][name] != told[0][name]


def test_voxels_that_found_no_room_are_told():
    algorithm = c2farm(room=8)
    state, data = one_of(algorithm)
    missing = data.here["voxel_missing"].double().mean().item()
    assert updated(algorithm, state, data)[1]["voxels_missing"].item() == pytest.approx(missing, rel=1e-6)
    assert missing > 0


def test_rows_without_weights_weigh_one():
    algorithm = c2farm()
    state, data = one_of(algorithm)
    plainly = updated(algorithm, state, data._replace(weight=()))
    assert same(plainly, updated(algorithm, state, data._replace(weight=torch.ones_like(data.reward))))
    assert not same(plainly, updated(algorithm, state, data))


def test_the_plan_says_what_the_settings_say():
    draws = {"priority": 0.7, "weight": 0.5, "tasks": 0, "demos": 0.25, "n_step": 2, "gamma": 0.9}
    assert c2farm(**{name: draws[name] for name in ("demos", "n_step", "gamma")}).plan == Stream(B, **draws, timeouts="terminal")
    assert c2farm(timeouts="bootstrap").plan.timeouts == "bootstrap"
    assert c2farm(priority=0.0).plan.weight == 0.0, "all rows are as likely"


@pytest.mark.parametrize(("drawn", "planned", "updates"), [(0, 0, 3), (2, 2, 2), (3, 0, 3), (9, 0, 3)])
def test_an_update_of_so_many_tasks_draws_so_many(drawn, planned, updates):
    algorithm = c2farm(3, tasks_per_batch=drawn)
    assert (algorithm.plan.tasks, algorithm.tasks) == (planned, updates)
    state = algorithm.init([0])
    told = algorithm.update(state, batch(algorithm, 3), algorithm.noise(state, [torch.Generator()]))
    assert told["priority"].shape == (1, updates, B)


def test_a_simulator_without_cameras_is_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"^c2farm acts by next-best poses and sees by cameras, test does not: try .*$"):
        made("c2farm", 1, SPEC)
    assert isinstance(c2farm(), Encoding)
