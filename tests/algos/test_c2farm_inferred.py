"""PEARL-C2F-ARM: what the encoder learns from and what it sees, who is told z, and how z is drawn through a trial."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from algos.lib import grids, image_context
from algos.lib.coarse_to_fine import Regular, next_value, regulariser, td_error
from algos.lib.image_context import CORRECTED, PAPER, Config
from algos.lib.qattention import plain
from core.errors import ConfigError
from core.tree import index_tree, map_tree, named_leaves
from core.types import Batch
from outpost.policies.image_context import inferred
from tests.algos.made import batch, made, params, seen

T, B, Z, C = 2, 3, 4, 3
INFERRED = Config(latent=Z, context=C, recent=4, trial=3)


def c2farm(**changes):
    inferred = replace(INFERRED, **{name: value for name, value in changes.items() if hasattr(INFERRED, name)})
    rest = {name: value for name, value in changes.items() if not hasattr(INFERRED, name)}
    return made("c2farm", T, **{"batch_size": B, "inferred": inferred, "explore": 0.0, "clip": 0.0, "weight_decay": 0.0} | rest)


def doubled(leaf):
    return leaf.double() if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() else leaf


def one_of(algorithm, seed: int = 0):
    """State, batch and noise of one seed, float64. The context's transitions are others than the batch's."""
    state, data = index_tree(algorithm.init([seed]), 0), index_tree(batch(algorithm, T, seed), 0)
    g = torch.Generator().manual_seed(seed)
    data = data._replace(reward=data.reward.abs().clamp(max=1))
    return map_tree(doubled, state), map_tree(doubled, data), torch.randn(T, Z, generator=g, dtype=torch.float64)


def encoder_of(params):
    return {name.removeprefix("encoder/"): leaf for name, leaf in params.items() if name.startswith("encoder/")}


# ---- the encoder and its posterior ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["linear", "leaky"])
def test_the_encoder_is_two_convolutions_and_two_dense_layers(output):
    """By hand, pixel by pixel; what follows the last layer differs by name only."""
    config = replace(INFERRED, output=output, reward_scale=100.0)
    g = torch.Generator().manual_seed(0)
    own = {name: p.double() for name, p in image_context.init_encoder((5, 6), 2, Z, g).items()}
    rgb = torch.randint(256, (2, 5, 6, 3), generator=g, dtype=torch.uint8)
    action, reward = torch.rand(2, 2, generator=g, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    x = rgb.permute(0, 3, 1, 2).double() / 127.5 - 1
    for layer in ("image0", "image1"):
        rows, columns = (torch.arange(-1, side + 1).clamp(0, side - 1) for side in x.shape[2:])
        x = x[:, :, rows][..., columns]
        patches = x.unfold(2, 3, 2).unfold(3, 3, 2)  # (B, in, H', W', 3, 3)
        x = torch.einsum("bihwyx,oiyx->bohw", patches, own[f"{layer}.w"]) + own[f"{layer}.b"][:, None, None]
        x = torch.where(x > 0, x, 0.02 * x)
    x = torch.cat([x.flatten(1), action, 100 * reward[:, None]], 1) @ own["dense0.w"].T + own["dense0.b"]
    out = torch.where(x > 0, x, 0.02 * x) @ own["dense1.w"].T + own["dense1.b"]
    assert (out < 0).any() and (out > 0).any()
    out = torch.where(out > 0, out, 0.02 * out) if output == "leaky" else out
    mean, variance = image_context.encode(own, rgb, action, reward, config)
    torch.testing.assert_close(mean, out[:, :Z])
    torch.testing.assert_close(variance, torch.log1p(out[:, Z:].exp()))


def by_hand(algorithm, encoder, context, noise):
    """z (T, Z) and the divergence of each task (T,), one number at a time."""
    z, divergence = [], []
    for t in range(T):
        each = [
            image_context.encode(
                encoder, *(context[name][t, c : c + 1] for name in ("context_rgb", "action", "reward")), algorithm.config.inferred
            )
            for c in range(C)
        ]
        precision = sum(1 / variance[0] for _, variance in each)
        variance = 1 / precision
        mean = variance * sum(m[0] / v[0] for m, v in each)
        z.append(mean + variance.sqrt() * noise[t])
        divergence.append(sum(0.5 * (v + m * m - 1 - torch.log(v)) for m, v in zip(mean, variance, strict=True)))
    return torch.stack(z), torch.stack(divergence)


@pytest.mark.parametrize("kl", ["sum", "mean"])
def test_z_is_drawn_from_the_product_of_what_each_transition_says(kl):
    algorithm = c2farm(kl=kl)
    state, data, noise = one_of(algorithm)
    encoder = encoder_of(state.params)
    z, divergence = algorithm.posterior(encoder, data, noise)
    wanted, each = by_hand(algorithm, encoder, data.context_here, noise)
    torch.testing.assert_close(z, wanted)
    torch.testing.assert_close(divergence, each.sum() if kl == "sum" else each.mean())
    assert each.min() > 0


def test_the_order_of_a_context_does_not_count():
    algorithm = c2farm()
    state, data, noise = one_of(algorithm)
    backwards = data._replace(context_here={name: column.flip(1) for name, column in data.context_here.items()})
    for one, other in zip(*(algorithm.posterior(encoder_of(state.params), given, noise) for given in (data, backwards)), strict=True):
        torch.testing.assert_close(one, other)


def test_settings_of_the_paper_and_ours_differ_in_what_the_spec_says():
    assert replace(PAPER, kl_weight=0.1, kl="mean", output="linear", reward_scale=1.0, told="all") == CORRECTED
    assert (PAPER.latent, PAPER.context, PAPER.recent, PAPER.kl_weight) == (16, 3, 10, 1.0)
    with pytest.raises(ConfigError, match="kl"):
        Config(kl="median")  # type: ignore[arg-type]


# ---- the update -------------------------------------------------------------------------------------------------------------


def whole_loss(algorithm, state, data: Batch, leaves, noise):
    """One graph from the images to the loss of all depths, with plain networks: targets are constants."""
    config, V = algorithm.config, algorithm.config.voxels
    z, divergence = by_hand(algorithm, encoder_of(leaves), data.context_here, noise)
    loss = config.inferred.kl_weight * (divergence.sum() if config.inferred.kl == "sum" else divergence.mean())
    here, there = ({name: leaf.flatten(0, 1) for name, leaf in side.items()} for side in (data.here, data.there))
    obs, next_obs, reward, discount = (leaf.flatten(0, 1) for leaf in (data.obs, data.next_obs, data.reward, data.bootstrap))
    for depth, sizes in enumerate(algorithm.sizes):
        own, fixed, target = (
            {name.removeprefix(f"{depth}/"): leaf for name, leaf in tree.items() if name.startswith(f"{depth}/")}
            for tree in (leaves, state.params, state.target)
        )
        told = z[:, None].expand(T, B, Z).reshape(T * B, Z) if sizes.latent else None
        now, then = (grids.unpack(record, depth, V).double() for record in (here, there))
        with torch.no_grad():
            value = next_value(plain(fixed, then, next_obs, sizes, told), plain(target, then, next_obs, sizes, told), sizes.heads)
        heads = torch.cat([here["rotation"].long(), here["grip"].long()[:, None]], 1) if sizes.heads else here["voxel"][:, :0].long()
        values = plain(own, now, obs, sizes, told)
        error = td_error(values, here["voxel"][:, depth].long(), heads, (reward + discount * value).clamp(0, 1), sizes.heads)
        loss = loss + (error + regulariser(values, Regular())).mean()
    return loss


@pytest.mark.parametrize(("told", "kl"), [("all", "mean"), ("first", "sum")])
def test_encoder_and_networks_descend_one_loss_by_autograd(told, kl):
    """Depth by depth, in parts of 2 rows, against one backward pass through everything; the first moment of Adam is a tenth of it."""
    algorithm = c2farm(told=told, kl=kl, kl_weight=0.7, at_once=2)
    state, data, noise = one_of(algorithm)
    new, metrics = algorithm.update_one(state, data, noise)
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in state.params.items()}
    loss = whole_loss(algorithm, state, data, leaves, noise)
    wanted = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    assert wanted["encoder/image0.w"].abs().max() > 1e-6
    for name, gradient in wanted.items():
        torch.testing.assert_close(new.adam.m[name], 0.1 * gradient, atol=1e-10, rtol=1e-6, msg=name)
    _, divergence = by_hand(algorithm, encoder_of(state.params), data.context_here, noise)
    torch.testing.assert_close(metrics["divergence"], divergence.sum() if kl == "sum" else divergence.mean())
    assert not any(name.startswith("encoder") for name in new.target)


@pytest.mark.parametrize("told", ["all", "first"])
def test_who_is_told_z_reads_it(told):
    algorithm = c2farm(told=told)
    state = algorithm.init([0])
    assert ("1/latent.w" in state.params) == (told == "all")
    assert state.params["0/latent.w"].shape == (1, Z, Z)
    own, now = params(algorithm, state), seen(2, sight=True)
    zs = [np.full((2, Z), value, np.float32) for value in (-2.0, 2.0)]
    looked = [algorithm.look(own, now, z, None) for z in zs]
    values = [[algorithm._values(own, depth, [one.grids[depth] for one in looked[0]], now.obs, z) for z in zs] for depth in range(2)]
    assert not torch.equal(*(v.voxels for v in values[0]))
    assert torch.equal(*(v.voxels for v in values[1])) == (told == "first")


# ---- acting -----------------------------------------------------------------------------------------------------------------


def step(algorithm, own, carry, t: int, *, trial: bool = False, episode: bool = False, noise=None, N: int = 2):
    """Simulators that show other blocks with each step, and what they did and got last."""
    now, draw = seen(N, sight=True, first=False, variation=10 * t), np.random.default_rng(t)
    told = {"trial": np.full(N, trial), "episode": np.full(N, episode)}
    now = now._replace(action=draw.random(now.action.shape, "f4"), reward=draw.random(N, "f4"), **told)
    return now, algorithm.act(own, carry, now, noise)[1]


def made_up(algorithm):
    return params(algorithm, algorithm.init([3]))


def noise_of(algorithm, seed: int, N: int = 2):
    return np.random.default_rng(seed).standard_normal((N, algorithm.noise_dim), dtype=np.float32)


def test_z_is_the_prior_first_then_stays_for_an_episode_and_changes_with_the_next():
    algorithm = c2farm()
    own, zs, carry = made_up(algorithm), [], None
    for t, (trial, episode) in enumerate([(True, True), (False, False), (False, False), (False, True), (False, False), (True, True)]):
        _, carry = step(algorithm, own, carry, t, trial=trial, episode=episode, noise=noise_of(algorithm, t))
        zs.append(carry["z"].copy())
    drawn = slice(algorithm.disturbing, algorithm.disturbing + Z)
    np.testing.assert_array_equal(zs[0], noise_of(algorithm, 0)[:, drawn], "N(0, I) of nothing seen")
    np.testing.assert_array_equal(zs[1], zs[0])
    np.testing.assert_array_equal(zs[2], zs[0])
    assert (zs[3] != zs[2]).all() and (zs[3] != noise_of(algorithm, 3)[:, drawn]).all(), "no longer the prior"
    np.testing.assert_array_equal(zs[4], zs[3])
    np.testing.assert_array_equal(zs[5], noise_of(algorithm, 5)[:, drawn], "a trial forgets the one before")


def test_without_noise_z_is_the_mean_of_the_newest_transitions():
    algorithm = c2farm()
    own, carry, told = made_up(algorithm), None, []
    encoder = {name: torch.from_numpy(leaf) for name, leaf in encoder_of(own).items()}
    for t in range(7):
        now, after = step(algorithm, own, carry, t, trial=t == 0, episode=t in (0, 6))
        if t == 0:
            assert not after["z"].any()
        else:
            image = torch.from_numpy(seen(2, sight=True, first=False, variation=10 * (t - 1)).fields["front_rgb"])
            told.append(image_context.encode(encoder, image, torch.from_numpy(now.action), torch.from_numpy(now.reward), INFERRED))
        carry = after
    newest = told[-C:]
    precision = sum(1 / variance for _, variance in newest)
    np.testing.assert_allclose(carry["z"], sum(mean / variance for mean, variance in newest) / precision, rtol=1e-4, atol=1e-6)


def test_memory_keeps_the_newest_in_a_ring_each_from_the_image_that_was_acted_on():
    algorithm = c2farm()
    own, carry = made_up(algorithm), None
    encoder = {name: torch.from_numpy(leaf) for name, leaf in encoder_of(own).items()}
    slots = {}
    for t in range(7):
        now, carry = step(algorithm, own, carry, t, trial=t == 0, episode=t == 0)
        assert carry["count"].tolist() == [t, t]
        np.testing.assert_array_equal(carry["rgb"], now.fields["front_rgb"])
        if t:
            image = torch.from_numpy(seen(2, sight=True, first=False, variation=10 * (t - 1)).fields["front_rgb"])
            slots[(t - 1) % 4] = image_context.encode(encoder, image, torch.from_numpy(now.action), torch.from_numpy(now.reward), INFERRED)
    for slot, (mean, variance) in slots.items():
        np.testing.assert_allclose(carry["mean"][:, slot], mean.numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(carry["variance"][:, slot], variance.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("chosen", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_which_of_the_remembered_are_drawn_goes_by_the_noise_newest_first(chosen):
    """In a full ring of 4 whose newest is in slot 1: a share of 0 draws the newest, of 1 the oldest."""
    memory = {
        "mean": np.arange(4, dtype=np.float32)[None, :, None].repeat(Z, 2),
        "variance": np.ones((1, 4, Z), np.float32),
        "count": np.array([6]),
        "z": np.zeros((1, Z), np.float32),
    }
    quantile = torch.special.ndtri(torch.tensor(chosen)).clamp(-9, 9).item()
    noise = np.concatenate([np.zeros((1, Z)), np.full((1, C), quantile)], 1).astype(np.float32)
    z = inferred(memory, seen(1, sight=True)._asdict(), noise, INFERRED)
    newest_first = [1, 0, 3, 2]
    np.testing.assert_allclose(z, np.full((1, Z), newest_first[min(3, int(chosen * 4))]), atol=1e-6)


def test_where_fewer_are_remembered_only_those_are_drawn():
    memory = {
        "mean": np.full((1, 4, Z), np.nan, np.float32),
        "variance": np.full((1, 4, Z), np.nan, np.float32),
        "count": np.array([2]),
        "z": np.zeros((1, Z), np.float32),
    }
    memory["mean"][:, :2], memory["variance"][:, :2] = 3.0, 0.5
    for noise in (None, *(np.random.default_rng(seed).normal(0, 3, (1, Z + C)).astype("f4") for seed in range(20))):
        z = inferred(memory, seen(1, sight=True)._asdict(), noise, INFERRED)
        drawn = 0 if noise is None else noise[:, :Z] * np.sqrt(0.5 / 3)
        np.testing.assert_allclose(z, 3.0 + drawn, rtol=1e-5, atol=1e-5)


def test_what_is_seen_now_and_who_else_is_there_says_nothing_of_the_task():
    """Simulators are told apart, and the image, action and reward of now come with the next step."""
    algorithm = c2farm()
    own, carry = made_up(algorithm), None
    for t in range(3):
        _, carry = step(algorithm, own, carry, t, trial=t == 0, episode=t == 0)
    now = seen(2, sight=True, first=False)._replace(episode=np.ones(2, bool), trial=np.zeros(2, bool))

    def z(**changes):
        return algorithm.act(own, {**carry, **changes.pop("before", {})}, now._replace(**changes), None)[1]["z"]

    usual = z()
    other = {name: value[::-1].copy() for name, value in now.fields.items()}
    np.testing.assert_array_equal(z(fields=other), usual)
    np.testing.assert_array_equal(z(obs=now.obs + 1), usual)
    first = np.array([1.0, 0.0], np.float32)
    darker = {"rgb": np.stack([carry["rgb"][0] // 2, carry["rgb"][1]])}
    for changed in (z(reward=now.reward + first), z(action=now.action + first[:, None]), z(before=darker)):
        assert (changed[0] != usual[0]).any()
        np.testing.assert_array_equal(changed[1], usual[1])


def test_only_who_infers_keeps_images_and_draws_contexts():
    with_z, without = c2farm(), made("c2farm", T)
    assert {field.name for field in with_z.encoded()} - {field.name for field in without.encoded()} == {"context_rgb"}
    assert (with_z.plan.context, with_z.plan.recent, with_z.plan.trial) == (C, 4, 3)
    assert (without.plan.context, without.plan.trial) == (0, 1)
    assert with_z.noise_dim == without.noise_dim + Z + C
    assert not [path for path, _ in named_leaves(without.init([0])) if "encoder" in path or "latent" in path]
