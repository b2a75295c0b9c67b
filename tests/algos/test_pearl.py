"""Exact answers that PEARL must give: the posterior, what reaches the encoder and what does not, and how it acts through a trial."""

import numpy as np
import pytest
import torch

from algos.lib.mlp import task_mlp
from algos.lib.seeds import in_turn, stacked
from algos.pearl import PEARL, Config, kl_to_prior, make, product_of_gaussians
from core.errors import ConfigError
from core.seen import Watch
from core.tree import index_tree, map_tree, named_leaves
from core.types import Batch, Field, TaskSpec
from tests.algos.made import params

OBS, ACT, Z, C = 3, 2, 4, 6
SPEC = TaskSpec("test", (Field("obs", (OBS,)),), ACT, 5)
KINDS = pytest.mark.parametrize("critic", ["value", "twin"])


def pearl(tasks: int = 4, **settings) -> PEARL:
    small = {"hidden": (16, 16), "encoder_hidden": (8,), "latent_dim": Z, "meta_batch": 4, "batch_size": 8, "context": C}
    return make(Config(**small | settings), SPEC, tasks)


def batch(algorithm: PEARL, seed: int = 0) -> Batch:
    """Of one seed, without its axis."""
    g = torch.Generator().manual_seed(seed)
    lead = (algorithm.tasks, algorithm.config.batch_size)
    obs, next_obs = torch.randn(*lead, OBS, generator=g), torch.randn(*lead, OBS, generator=g)
    action = torch.rand(*lead, ACT, generator=g) * 2 - 1
    context = torch.randn(algorithm.tasks, C, OBS + ACT + 1, generator=g)
    return Batch(obs, action, torch.randn(*lead, generator=g), next_obs, torch.full(lead, 0.99), context=context)


def one_of(algorithm: PEARL, seed: int = 0):
    """State, batch and noise of one seed."""
    noise = algorithm.noise(None, [torch.Generator().manual_seed(seed)])
    return index_tree(algorithm.init([seed]), 0), batch(algorithm, seed), index_tree(noise, 0)


def same(one, other) -> bool:
    return all(torch.equal(a, b) for (_, a), (_, b) in zip(named_leaves(one), named_leaves(other), strict=True))


# ---- the posterior ----------------------------------------------------------------------------------------------------


def test_product_of_gaussians_and_its_divergence():
    mean = torch.tensor([[1.0, -1.0], [0.5, 0.0], [2.0, 1.0]])
    variance = torch.tensor([[1.0, 2.0], [0.5, 1.0], [2.0, 4.0]])
    m, v = product_of_gaussians(mean, variance)
    torch.testing.assert_close(m, torch.tensor([0.857143, -0.142857]), atol=1e-6, rtol=0)
    torch.testing.assert_close(v, torch.tensor([0.285714, 0.571429]), atol=1e-6, rtol=0)
    assert kl_to_prior(m, v).item() == pytest.approx(0.712312, abs=1e-6)


def test_nothing_seen_is_the_prior():
    algorithm = pearl()
    state, one, _ = one_of(algorithm)
    mean, variance = algorithm.posterior(state.params.encoder, one.context[:, :0])
    assert torch.equal(mean, torch.zeros(4, Z))
    assert torch.equal(variance, torch.ones(4, Z))
    assert kl_to_prior(mean, variance).tolist() == [0.0] * 4


def test_the_order_of_a_context_does_not_count():
    algorithm = pearl()
    state, one, _ = one_of(algorithm)
    for a, b in zip(*(algorithm.posterior(state.params.encoder, c) for c in (one.context, one.context.flip(1))), strict=True):
        torch.testing.assert_close(a, b)


# ---- the update -------------------------------------------------------------------------------------------------------


@KINDS
def test_a_meta_batch_twice_is_the_same_update(critic):
    """The divergence's weight does not depend on the number of tasks: every loss is a mean over them."""
    one, two = pearl(critic=critic), pearl(8, meta_batch=8, critic=critic)
    state, data, noise = one_of(one)
    noise = noise._replace(target=noise.policy if critic == "twin" else noise.target)
    twice = map_tree(lambda leaf: torch.cat([leaf, leaf]) if leaf.numel() else leaf, (data, noise))
    (first, told), (second, told_twice) = one.update_one(state, data, noise), two.update_one(state, *twice)
    for name in told:
        torch.testing.assert_close(told[name], told_twice[name], msg=name)
    for name in first.moments:
        for (path, a), (_, b) in zip(named_leaves(first.moments[name].m), named_leaves(second.moments[name].m), strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4, msg=f"{name}.{path}")


@KINDS
@pytest.mark.parametrize("kl_weight", [0.0, 1.0])
def test_only_critics_and_divergence_reach_the_encoder(critic, kl_weight):
    """Critics that ignore z: the policy and the value read it still, but the encoder moves by the divergence alone."""
    algorithm = pearl(critic=critic, kl_weight=kl_weight, reward_scale=3.0)
    state, data, noise = one_of(algorithm)
    state.params.critic["w0"][:, -Z:] = 0
    new, metrics = algorithm.update_one(state, data, noise)
    assert same(new.params.encoder, state.params.encoder) == (kl_weight == 0)
    assert not same(new.params.policy, state.params.policy)
    assert metrics["kl"] > 0
    if kl_weight:
        kl = lambda net: kl_weight * kl_to_prior(*algorithm.posterior(net, data.context)).mean()  # noqa: E731
        gradient = torch.func.grad(kl)(state.params.encoder)
        for name, moment in new.moments["encoder"].m.items():
            torch.testing.assert_close(moment, 0.1 * gradient[name], rtol=1e-4, atol=1e-7)


@KINDS
def test_the_encoder_learns_from_each_critic_once(critic):
    """Against torch's own backward pass, in which the targets and everything of policy and value are constants."""
    algorithm = pearl(critic=critic)
    state, data, noise = one_of(algorithm)
    new, metrics = algorithm.update_one(state, data, noise)
    encoder = {k: v.clone().requires_grad_() for k, v in state.params.encoder.items()}
    mean, variance = algorithm.posterior(encoder, data.context)
    z = mean + variance.sqrt() * noise.z
    y = algorithm.targets(state, data, z.detach(), torch.ones(1), noise.target).detach()
    q = algorithm.q_values(state.params.critic, data.obs, data.action, z)
    loss = (q[0] - y).square().mean() + (q[1] - y).square().mean()
    (loss + 1.6 * kl_to_prior(mean, variance).mean()).backward()
    assert metrics["critic_loss"].item() == pytest.approx(loss.item(), rel=1e-4)
    for name, moment in new.moments["encoder"].m.items():
        torch.testing.assert_close(moment, 0.1 * encoder[name].grad, rtol=1e-3, atol=1e-6)


def test_the_target_of_a_critic():
    algorithm = pearl(reward_scale=5.0)
    state, data, noise = one_of(algorithm)
    z = torch.randn(4, Z)
    joined = torch.cat([data.next_obs, z[:, None].expand(-1, 8, -1)], -1)
    expected = 5 * data.reward + 0.99 * task_mlp(state.target, joined, heads=False)[..., 0]
    torch.testing.assert_close(algorithm.targets(state, data, z, torch.ones(1), noise.target), expected)
    ended = data._replace(bootstrap=torch.zeros(4, 8))
    torch.testing.assert_close(algorithm.targets(state, ended, z, torch.ones(1), noise.target), 5 * data.reward)


def test_the_reward_scale_does_not_enter_the_context():
    told = []
    for scale in (1.0, 100.0):
        algorithm = pearl(reward_scale=scale)
        told.append(algorithm.update_one(*one_of(algorithm))[1])
    for name in ("kl", "z_variance", "z_norm"):
        assert torch.equal(told[0][name], told[1][name])
    assert told[0]["critic_loss"] < told[1]["critic_loss"]


@KINDS
def test_twin_critics_begin_apart_and_stay_apart(critic):
    algorithm = pearl(critic=critic)
    state, data, noise = one_of(algorithm)
    for _ in range(3):
        assert not torch.equal(state.params.critic["w0"][0], state.params.critic["w0"][1])
        state, _ = algorithm.update_one(state, data, noise)
    assert ("w0" in state.params.value) == (critic == "value")


@pytest.mark.parametrize("learn", [False, True])
def test_the_temperature_is_fixed_unless_it_is_learned(learn):
    algorithm = pearl(learn_alpha=learn, initial_alpha=0.5, critic="twin")
    state = algorithm.init([0])
    metrics = algorithm.update(state, map_tree(lambda x: x[None], batch(algorithm)), algorithm.noise(state, [torch.Generator()]))
    assert metrics["alpha"].item() == pytest.approx(0.5)
    assert (state.params.log_alpha["log_alpha"].item() == pytest.approx(np.log(0.5))) != learn


def test_regularisers_of_the_policy_have_gradients():
    algorithm = pearl(policy_mean_reg=1.0, policy_std_reg=0.0)
    state, data, noise = one_of(algorithm)
    z = torch.zeros(4, Z)
    cost = lambda net: algorithm.sample_action(net, data.obs, z, noise.policy)[2]  # noqa: E731
    gradient = torch.func.grad(cost)(state.params.policy)
    assert gradient["b2"][:, :ACT].all()
    assert not gradient["w2"][:, ACT:].any()


@KINDS
def test_seeds_stacked_or_in_turn_are_the_same(critic):
    algorithm = pearl(critic=critic, learn_alpha=True)
    states = [algorithm.init([0, 1]) for _ in range(2)]
    data = map_tree(lambda *x: torch.stack(x), batch(algorithm, 0), batch(algorithm, 1))
    noise = algorithm.noise(states[0], [torch.Generator().manual_seed(s) for s in (0, 1)])
    told = [how(algorithm.update_one, state, data, noise) for how, state in zip((in_turn, stacked), states, strict=True)]
    for (path, a), (_, b) in zip(named_leaves((states[0], told[0])), named_leaves((states[1], told[1])), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=path)


@KINDS
def test_a_copy_of_the_state_goes_on_bit_for_bit(critic):
    algorithm = pearl(critic=critic)

    def run(state, first, last):
        for i in range(first, last):
            data = map_tree(lambda x: x[None], batch(algorithm, i))
            algorithm.update(state, data, algorithm.noise(state, [torch.Generator().manual_seed(i)]))
        return state

    straight = run(algorithm.init([3]), 0, 5)
    copied = map_tree(torch.clone, run(algorithm.init([3]), 0, 2))
    assert same(run(copied, 2, 5), straight)


# ---- acting -----------------------------------------------------------------------------------------------------------


class Trial:
    """N simulators that say random things, episodes of ``length`` steps; what is told to the policy, and what it did."""

    def __init__(self, algorithm: PEARL, steps: int, N: int = 3, length: int = 5, noisy: bool = True, episodes: int = 0) -> None:
        state = algorithm.init([0])
        self.net, own = index_tree(state.params, 0), params(algorithm, state)
        rng, watch, carry = np.random.default_rng(0), Watch(np.zeros(N), ACT, trial=episodes), None
        self.transitions, self.z, self.noise, self.beliefs, self.actions, self.obs = [], [], [], [], [], []
        for t in range(steps):
            obs = rng.standard_normal((N, OBS), dtype=np.float32)
            noise = rng.standard_normal((N, algorithm.noise_dim), dtype=np.float32) if noisy else None
            action, carry, _ = algorithm.act(own, carry, watch.seen({"obs": obs}), noise)
            self.z.append(carry["z"]), self.noise.append(noise), self.beliefs.append(algorithm.belief(carry))
            self.actions.append(action), self.obs.append(obs)
            reward = rng.standard_normal(N).astype(np.float32)
            self.transitions.append(np.concatenate([obs, action, reward[:, None]], 1))
            watch.acted(action)
            watch.stepped(reward, np.full(N, t % length == length - 1))

    def context(self, first: int, last: int) -> torch.Tensor:
        return torch.from_numpy(np.stack(self.transitions, 1)[:, first:last])


def test_the_belief_while_acting_is_the_encoders_of_the_same_transitions():
    """Through the end of an episode too: its last reward comes with the first observation of the next."""
    algorithm = pearl(context=100)
    trial = Trial(algorithm, 13)
    for t in (0, 1, 4, 5, 6, 12):
        expected = algorithm.posterior(trial.net.encoder, trial.context(0, t))
        for got, wanted in zip(trial.beliefs[t], expected, strict=True):
            np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-4, atol=1e-6)


def test_a_belief_counts_no_more_than_the_context_it_was_trained_on():
    """n > C transitions: the mean of their product, and the variance of C of them."""
    algorithm = pearl(context=C)
    trial = Trial(algorithm, 3 * C + 1)
    mean, variance = algorithm.posterior(trial.net.encoder, trial.context(0, 3 * C))
    np.testing.assert_allclose(trial.beliefs[-1][0], mean.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(trial.beliefs[-1][1], 3 * variance.numpy(), rtol=1e-4)


def test_z_is_drawn_at_each_episode_and_constant_within():
    trial = Trial(pearl(), 15)
    for t in range(15):
        begins = t % 5 == 0
        if begins:
            mean, variance = trial.beliefs[t]
            np.testing.assert_allclose(trial.z[t], mean + np.sqrt(variance) * trial.noise[t][:, ACT:], rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(trial.z[t], trial.z[t - 1])
    assert not np.array_equal(trial.z[4], trial.z[5])
    np.testing.assert_array_equal(trial.z[0], trial.noise[0][:, ACT:])


def test_a_new_trial_forgets():
    trial = Trial(pearl(), 11, episodes=2)
    for t in (0, 10):
        assert not trial.beliefs[t][0].any()
        assert (trial.beliefs[t][1] == 1).all()
        np.testing.assert_array_equal(trial.z[t], trial.noise[t][:, ACT:])
    assert trial.beliefs[5][0].all()


def test_without_noise_z_is_the_mean_and_the_action_the_mode():
    algorithm = pearl()
    trial = Trial(algorithm, 8, noisy=False)
    assert not trial.z[0].any()
    np.testing.assert_array_equal(trial.z[5], trial.beliefs[5][0])
    obs, z = torch.from_numpy(trial.obs[7]), torch.from_numpy(trial.z[7])
    action, _, _ = algorithm.sample_action(trial.net.policy, obs[:, None], z, torch.zeros(3, 1, ACT))
    np.testing.assert_allclose(trial.actions[7], action[:, 0].numpy(), atol=1e-6)


def test_actors_compute_the_learners_policy():
    algorithm = pearl()
    trial = Trial(algorithm, 9)
    for t in (2, 6, 8):
        noise = torch.from_numpy(trial.noise[t][:, :ACT])[:, None]
        z = torch.from_numpy(trial.z[t])
        action, _, _ = algorithm.sample_action(trial.net.policy, torch.from_numpy(trial.obs[t])[:, None], z, noise)
        np.testing.assert_allclose(trial.actions[t], action[:, 0].numpy(), atol=1e-5)


# ---- settings ---------------------------------------------------------------------------------------------------------


def test_the_plan():
    plan = pearl(9, hold=3, recent=50, trial=2, gamma=0.9).plan
    assert (plan.tasks, plan.hold, plan.context, plan.recent, plan.trial, plan.batch_size, plan.gamma) == (4, 3, C, 50, 2, 8, 0.9)
    few = pearl(3, hold=3).plan  # fewer tasks than a meta-batch: all of them, and nothing to hold
    assert (few.tasks, few.hold) == (0, 1)


def test_the_context_is_of_two_episodes_unless_told():
    """Of all that was ever collected, PEARL on the semicircle learns and then unlearns to adapt: bench/results/semicircle_pearl.md."""
    for horizon in (20, 500):
        spec = TaskSpec("made:up", (Field("obs", (2,)),), 2, horizon)
        assert make(Config(), spec, 40).plan.recent == 2 * horizon
        assert make(Config(recent=0), spec, 40).plan.recent == 0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"context": 0}, "algo.context is 0"),
        ({"recent": -1}, "algo.recent is -1"),
        ({"latent_dim": -1}, "algo.latent_dim is -1"),
        ({"kl_weight": -0.1}, "algo.kl_weight"),
        ({"gamma": 1.5}, "algo.gamma"),
        ({"critic": "three"}, "allowed: value, twin"),
        ({"encoder_hidden": ()}, "algo.encoder_hidden"),
    ],
)
def test_impossible_settings_are_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        pearl(**settings)
