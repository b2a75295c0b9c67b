"""Exact answers that task embeddings must give: MT-PPO without a latent, the encoder's gradient, the reward's new terms, information."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal

import algos
from algos.lib.adam import adam, init_adam
from algos.lib.surrogate import task_major
from algos.task_embedding import Config, Episodes, State, TaskEmbedding, make, own
from core.errors import ConfigError
from core.tree import index_tree, named_leaves
from core.types import Field, Round, TaskSpec
from tests.algos.made import ACT, OBS, SPEC, a_round, params, seen, whole_round

Z = 2
SMALL = {"hidden": (16, 16), "episodes": 3, "epochs": 2, "minibatches": 2, "latent": Z, "window": 3}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def embedding(tasks: int = 3, spec: TaskSpec = SPEC, **settings: Any) -> TaskEmbedding:
    return make(Config(**SMALL | settings), spec, tasks)


def rounds(algorithm: TaskEmbedding, seeds: int = 1, seed: int = 0) -> Round:
    """With one latent for each episode."""
    lead = (seeds, 1, algorithm.tasks, 2, algorithm.plan.episodes, SPEC.horizon)
    made = a_round(algorithm, lead, torch.Generator().manual_seed(seed))
    return made._replace(extra={name: x[..., :1, :] * made.valid[..., None] for name, x in made.extra.items()})


def one_seed(state: State) -> State:
    return index_tree(state, 0)


def updated(algorithm: Any, state: Any, batches: list[Round], generator: torch.Generator) -> Any:
    for batch in batches:
        algorithm.update(state, batch, algorithm.noise(state, [generator] * state.steps.shape[0]))
    return state


def assert_same(a: Any, b: Any) -> None:
    for (path, x), (_, y) in zip(named_leaves(a), named_leaves(b), strict=True):
        assert torch.equal(x, y), path


@pytest.mark.parametrize("tasks", [1, 3])
def test_without_a_latent_it_is_multi_task_ppo_to_the_bit(tasks):
    module = algos.find("ppo")
    same = {k: v for k, v in SMALL.items() if k not in ("latent", "window")} | {"lr": 2e-3, "gae_lambda": 0.9, "entropy": 0.01}
    ppo = module.make(module.Config(**same), SPEC, tasks)
    te = embedding(tasks, **same | {"latent": 0, "policy_entropy": 0.0})
    batches = [rounds(te, 2, i) for i in range(3)]
    states = [updated(a, a.init([3, 4]), batches, torch.Generator().manual_seed(0)) for a in (ppo, te)]
    assert not states[1].inference
    for part in ("policy", "adam", "steps"):
        assert_same(getattr(states[0], part), getattr(states[1], part))
    assert te.fields() == ()
    noise = np.random.default_rng(0).standard_normal((4, te.noise_dim), dtype=np.float32)
    (a, _, _), (b, carry, extra) = (x.act(params(x, state), None, seen(4), noise) for x, state in zip((ppo, te), states, strict=True))
    assert np.array_equal(a, b)
    assert carry is None and extra == {}


def test_acting_holds_a_latent_for_an_episode():
    algorithm = embedding()
    own_params, rng, carry, kept = params(algorithm, algorithm.init([0])), np.random.default_rng(0), None, None
    which = np.array([0, 1, 2, 1])
    for t in range(4):
        begins = np.array([t == 0, t in (0, 2), t == 0, True])
        now = seen(4, which, first=False)._replace(episode=begins, trial=np.full(4, t == 0))
        noise = rng.standard_normal((4, ACT + Z), dtype=np.float32)
        action, carry, extra = algorithm.act(own_params, carry, now, noise)
        latent = extra["latent"]
        if kept is not None:
            assert np.array_equal((latent == kept).all(1), ~begins)
        kept = latent.copy()
        bare = {k: torch.from_numpy(v) for k, v in own_params.items() if "." not in k}
        expected = algorithm.actions(bare, torch.from_numpy(np.hstack([now.obs, latent]))[None])
        np.testing.assert_allclose(action, expected.out[0].numpy() + expected.log_std.exp().numpy() * noise[:, :ACT], atol=1e-5)


def test_latents_are_drawn_from_the_learners_encoder():
    algorithm = embedding(embedding_std=0.7)
    state = updated(algorithm, algorithm.init([0]), [rounds(algorithm)], torch.Generator().manual_seed(0))
    which, noise = np.array([2, 0, 1]), np.random.default_rng(0).standard_normal((3, ACT + Z), dtype=np.float32)
    at = algorithm.embeddings(one_seed(state).policy)
    mean, std = at.out[:, 0].numpy()[which], at.log_std[:, 0].exp().numpy()[which]
    for given, expected in ((None, mean), (noise, mean + std * noise[:, ACT:])):
        _, _, extra = algorithm.act(params(algorithm, state), None, seen(3, which), given)
        np.testing.assert_allclose(extra["latent"], expected, atol=1e-5)


def test_the_encoders_entropy_and_its_gradient():
    """0.5 Z log(2 pi e) + sum log std; with nothing to gain from any latent, its gradient is all that moves the encoder."""
    algorithm = embedding(encoder_entropy=0.3, embedding_std=0.5)
    policy = one_seed(algorithm.init([0])).policy
    policy["encoder.log_std"] = torch.rand(3, Z) - 0.5
    at = algorithm.embeddings(policy)
    expected = 0.5 * Z * math.log(2 * math.pi * math.e) + policy["encoder.log_std"].sum(1)
    torch.testing.assert_close(algorithm.embedding.entropy(at)[:, 0], expected)

    latent = torch.randn(3, 4, Z)
    episodes = Episodes(latent, torch.zeros(3, 4), algorithm.embedding.log_prob(at, latent), torch.ones(3, 4))
    grads = torch.func.grad(algorithm.encoder_loss)(policy, episodes)
    torch.testing.assert_close(grads["encoder.log_std"], torch.full((3, Z), -0.3 / 3))


def test_the_encoders_first_gradient_is_its_policy_gradient():
    """- mean over tasks of the mean over episodes of grad log p(z|task) A: each episode once, however long it was."""
    algorithm = embedding(encoder_entropy=0.0)
    state, data = one_seed(algorithm.init([0])), task_major(index_tree(rounds(algorithm), 0))
    samples, episodes, _ = algorithm.prepared(state, data)
    assert episodes is not None
    ours = torch.func.grad(lambda p: algorithm.loss(p, samples, episodes, whole_round(samples.valid)))(state.policy)

    leaves = {k: v.clone().requires_grad_() for k, v in own(state.policy).items()}
    total = torch.zeros(())
    for k in range(3):
        x = torch.eye(3)[k]
        for layer in range(3):
            x = x @ leaves[f"w{layer}"] + leaves[f"b{layer}"][0]
            x = torch.tanh(x) if layer < 2 else x
        for e in range(6):
            log_prob = Independent(Normal(x, leaves["log_std"][k].exp()), 1).log_prob(data.extra["latent"][k, e, 0])
            total = total - log_prob * episodes.advantage[k, e] / 6 / 3
    total.backward()
    assert total.abs() > 0
    for name, leaf in leaves.items():
        torch.testing.assert_close(ours[f"encoder.{name}"], leaf.grad, atol=2e-6, rtol=1e-4)


def test_an_episode_that_brought_more_makes_its_latent_likelier():
    algorithm = embedding(1, encoder_entropy=0.0)
    state, data = one_seed(algorithm.init([0])), task_major(index_tree(rounds(algorithm), 0))
    data = data._replace(obs=torch.zeros_like(data.obs))
    reward = data.valid * data.extra["latent"][..., 0]  # the larger the first number of the latent, the better
    episodes = algorithm.episodes(state.policy, data, reward)
    grads = torch.func.grad(algorithm.encoder_loss)(state.policy, episodes)
    assert grads["encoder.b2"][0, 0] < 0


def test_latents_of_a_task_with_large_rewards_do_not_own_the_gradient():
    algorithm = embedding(2)
    state, data = one_seed(algorithm.init([0])), task_major(index_tree(rounds(algorithm), 0))
    scale = torch.tensor([1000.0, 1.0])[:, None, None]
    before, after = (algorithm.episodes(state.policy, data, data.reward * by).advantage for by in (1.0, scale))
    assert torch.equal(before[1], after[1])
    torch.testing.assert_close(before[0], after[0], rtol=1e-3, atol=1e-3)


def test_the_policy_is_scored_at_the_latent_that_acted():
    algorithm = embedding(entropy=0.0)
    state, data = one_seed(algorithm.init([0])), task_major(index_tree(rounds(algorithm), 0))
    samples, _, _ = algorithm.prepared(state, data)
    whole = whole_round(samples.valid)
    ours = torch.func.grad(lambda p: algorithm.loss(p, samples, None, whole))(state.policy)
    assert not any(grads.any() for name, grads in ours.items() if name.startswith("encoder."))

    other = {k: v + 1 if k.startswith("encoder.") else v for k, v in state.policy.items()}  # tasks have other latents now
    again = torch.func.grad(lambda p: algorithm.loss(p, samples, None, whole))(other)
    assert_same(ours, again)
    at = algorithm.actions(other, algorithm.inputs(data))
    assert torch.equal(algorithm.head.log_prob(at, samples.action), samples.log_prob)


def test_rewards_with_the_entropy_and_the_probability_of_the_latent():
    """Written out step by step: H[pi], and log q of the acting latent given the newest W observations of the episode."""
    W, c1, c2 = 3, 0.2, 0.5
    algorithm = embedding(2, policy_entropy=c1, cross_entropy=c2, log_q_limit=6.0)
    state, data = one_seed(algorithm.init([0])), task_major(index_tree(rounds(algorithm), 0))
    inference = state.inference | {"log_std": torch.tensor([[-0.3, 0.2]])}
    log_q = algorithm.log_q_of_all(inference, data)
    at = algorithm.actions(state.policy, algorithm.inputs(data))
    ours = algorithm.augmented(data, at, log_q)
    entropy, limited = ACT * 0.5 * math.log(2 * math.pi * math.e), 0
    for k in range(2):
        for e in range(6):
            for t in range(SPEC.horizon):
                if not data.valid[k, e, t]:
                    assert ours[k, e, t] == 0
                    continue
                x = torch.cat([data.obs[k, e, max(t - back, 0)] for back in range(W - 1, -1, -1)])
                for layer in range(3):
                    x = x @ inference[f"w{layer}"] + inference[f"b{layer}"][0]
                    x = torch.tanh(x) if layer < 2 else x
                likely = Independent(Normal(x, inference["log_std"][0].exp()), 1).log_prob(data.extra["latent"][k, e, t]).item()
                limited += likely < -6
                expected = data.reward[k, e, t].item() + c1 * entropy + c2 * max(likely, -6.0)
                assert ours[k, e, t].item() == pytest.approx(expected, abs=1e-5)
    assert limited


def separable(algorithm: TaskEmbedding, g: torch.Generator, *, told: bool) -> Round:
    """Observations that say which task it is, or not; latents of encoders that are far apart."""
    K, G, T = algorithm.tasks, 8, SPEC.horizon
    obs = torch.randn(K, G, T, OBS, generator=g) * 0.1 + (3 * torch.eye(K, OBS)[:, None, None] if told else 0)
    means = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 3.0], [0.0, -3.0]])
    latent = (means[:, None] + 0.5 * torch.randn(K, G, Z, generator=g))[:, :, None].expand(-1, -1, T, -1)
    return Round(obs, torch.zeros(K, G, T, ACT), torch.zeros(K, G, T), torch.ones(K, G, T), {"latent": latent})


@pytest.mark.parametrize(("told", "least", "most"), [(True, 0.9, 1.0), (False, -1.3, 0.0)])
def test_information_is_log_k_where_windows_tell_the_task(told, least, most):
    """H[z] + E log q tends to log 4 nats, and to no more than 0 where windows tell nothing. The inference network alone is trained."""
    algorithm, g = embedding(4), torch.Generator().manual_seed(0)
    inference = one_seed(algorithm.init([0])).inference
    moments = init_adam(inference)

    def loss(inference: dict[str, torch.Tensor], data: Round) -> torch.Tensor:
        return -algorithm.log_q_of_all(inference, data).mean()

    for i in range(150):
        grads = torch.func.grad(loss)(inference, separable(algorithm, g, told=told))
        inference, moments = adam(inference, grads, moments, torch.tensor(i + 1.0), lr=0.02)

    many = [separable(algorithm, g, told=told) for _ in range(50)]
    latent = torch.cat([data.extra["latent"][:, :, 0] for data in many], 1)
    policy = {"encoder.w0": torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 3.0], [0.0, -3.0]]), "encoder.b0": torch.zeros(1, Z)}
    policy["encoder.log_std"] = torch.full((4, Z), math.log(0.5))
    episodes = Episodes(latent, latent[..., 0], latent[..., 0], torch.ones(latent.shape[:2]))
    bound = algorithm.information(policy, episodes, -torch.stack([loss(inference, data) for data in many]).mean())
    assert least * math.log(4) < bound < most * math.log(4) + 0.03


def test_the_inference_network_comes_to_expect_the_latents_that_acted():
    algorithm = embedding(2, epochs=20, inference_lr=0.02)
    state, batch, generator = algorithm.init([0]), rounds(algorithm), torch.Generator().manual_seed(0)
    first, second = (algorithm.update(state, batch, algorithm.noise(state, [generator]))["cross_entropy"] for _ in range(2))
    assert second < first - 0.2


def test_standard_deviations_of_latents_stay_in_their_bounds():
    algorithm = embedding(embedding_std=1.0, embedding_max_std=1.1, encoder_entropy=10.0, lr=0.1)
    state = updated(algorithm, algorithm.init([0]), [rounds(algorithm)], torch.Generator().manual_seed(0))
    torch.testing.assert_close(state.policy["encoder.log_std"].exp(), torch.full((1, 3, Z), 1.1))


def test_choices_are_learned_too():
    algorithm = embedding(2, TaskSpec("test", SPEC.observation, ACT, SPEC.horizon, discrete=True))
    batch = rounds(algorithm)
    batch = batch._replace(action=torch.nn.functional.one_hot(batch.action.argmax(-1), ACT).float())
    metrics = algorithm.update(algorithm.init([0]), batch, torch.tensor([0]))
    assert all(torch.isfinite(value).all() for value in metrics.values())
    assert "std" not in metrics


@pytest.mark.parametrize("setting", [{"latent": -1}, {"window": 0}, {"encoder_hidden": (0,)}, {"embedding_std": 3.0}, {"log_q_limit": 0.0}])
def test_a_wrong_setting_is_found_at_once(setting):
    (name,) = setting
    with pytest.raises(ConfigError, match=f"algo.{name} is"):
        Config(**setting)


GOALS = np.array([0.8, -0.8], np.float32)


def play(algorithm: TaskEmbedding, state: State, rng: np.random.Generator, simulators: int = 40) -> Round:
    """Episodes of one step: the nearer the action to the task's goal the better. Only the latent can tell the policy which task it is."""
    N, E = simulators, algorithm.plan.episodes
    which = np.arange(2).repeat(N * E)
    obs, noise = (rng.standard_normal((len(which), n), dtype=np.float32) for n in (2, algorithm.noise_dim))
    action, _, extra = algorithm.act(params(algorithm, state), None, seen(len(which), which, obs=obs), noise)
    reward, lead = -np.square(action - GOALS[which, None]).sum(1), (1, 1, 2, N, E, 1)
    made = [torch.from_numpy(x).reshape(*lead, *x.shape[1:]) for x in (obs, action, reward, extra["latent"])]
    return Round(made[0], made[1], made[2], torch.ones(lead), {"latent": made[3]})


def test_it_learns_to_tell_the_policy_its_task():
    spec = TaskSpec("test", (Field("obs", (2,)),), 1, 1)
    settings = {"lr": 0.02, "epochs": 4, "minibatches": 2, "entropy": 0.0, "init_std": 0.5, "embedding_std": 0.3}
    algorithm = embedding(2, spec, window=1, policy_entropy=0.0, cross_entropy=0.0, **settings)
    state, rng, generator, scores = algorithm.init([0]), np.random.default_rng(0), torch.Generator().manual_seed(0), []
    for _ in range(12):
        batch = play(algorithm, state, rng)
        scores.append(batch.reward.mean().item())
        updated(algorithm, state, [batch], generator)
    assert np.mean(scores[-3:]) > 0.3 * scores[0]  # rewards are negative: an action for both tasks would leave 0.7 of it
