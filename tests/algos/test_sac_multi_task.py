"""MT-SAC and MTMH-SAC: tasks that must not touch each other, seeds that must not either, PCGrad against its definition."""

import pytest
import torch

from algos.lib.adam import clip_norm
from algos.lib.mlp import init_mlp, mlp, of_task, task_mlp
from algos.lib.pcgrad import pcgrad, projected
from algos.lib.seeds import in_turn, stacked
from algos.sac import SAC, Config, Data, make
from core.errors import ConfigError
from core.tree import index_tree, map_tree, named_leaves
from core.types import Batch, Field, TaskSpec

OBS, ACT, K = 5, 2, 3
VARIANTS = {
    "mt": {},
    "mtmh": {"multi_head": True},
    "all": {"multi_head": True, "normalize_obs": True, "normalize_reward": True, "task_weights": "temperature", "max_grad_norm": 1.0},
    "pcgrad": {"pcgrad": True},
    "pcgrad heads": {"pcgrad": True, "multi_head": True, "max_grad_norm": 0.5},
}


def sac(tasks: int = K, **settings) -> SAC:
    config = Config(**{"hidden": (16, 12), "batch_size": 6} | settings)
    return make(config, TaskSpec("test", (Field("obs", (OBS,)),), ACT, 100), tasks)


def batch(algorithm: SAC, seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    lead = (algorithm.tasks, algorithm.config.batch_size)
    obs, next_obs = (torch.randn(*lead, OBS, generator=g) for _ in range(2))
    return Batch(obs, torch.rand(*lead, ACT, generator=g) * 2 - 1, torch.randn(lead, generator=g), next_obs, torch.full(lead, 0.99))


def changed(one: Batch, task: int) -> Batch:
    """Other transitions of one task."""
    new = map_tree(torch.clone, one)
    for leaf in new[:4]:
        leaf[task] += 1.0
    return new


def updates(algorithm: SAC, state, seeds: list[int], count: int, how=in_turn):
    """``count`` updates; seed s has its own data and its own noise."""
    generators = [torch.Generator().manual_seed(s) for s in seeds]
    for i in range(count):
        together = map_tree(lambda *leaves: torch.stack(leaves), *(batch(algorithm, 100 * s + i) for s in seeds))
        how(algorithm.update_one, state, together, algorithm.noise(state, generators))
    return state


@pytest.mark.parametrize("heads", [False, True])
@pytest.mark.parametrize("stack", [None, 2])
def test_a_networks_task_is_a_one_hot_and_a_head(heads, stack):
    """Row and head against the plain network on an input with the one-hot appended."""
    params = init_mlp((OBS + K, 16, 12, 4), torch.Generator().manual_seed(0), stack=stack, heads=K if heads else None)
    x = torch.randn(K, 7, OBS)
    out = task_mlp(params, x, heads=heads)
    assert out.shape == (*((2,) if stack else ()), K, 7, 4)
    for k in range(K):
        inputs = torch.cat([x[k], torch.eye(K)[k].expand(7, K)], 1)
        plain = {n: p[..., k, :, :] if heads and n in ("w2", "b2") else p for n, p in params.items()}
        torch.testing.assert_close(out[..., k, :, :], mlp(plain, inputs))
        seen = of_task(params, torch.eye(K)[k], told=True, heads=heads)
        torch.testing.assert_close(task_mlp(seen, x[k : k + 1], heads=heads)[..., 0, :, :], out[..., k, :, :])


@pytest.mark.parametrize("variant", ["mt", "mtmh"])
def test_a_tasks_data_move_no_other_tasks_temperature_or_head(variant):
    algorithm = sac(**VARIANTS[variant])
    one, state = batch(algorithm), index_tree(algorithm.init([0]), 0)
    noise = index_tree(algorithm.noise(None, [torch.Generator().manual_seed(0)]), 0)
    # Adam's first step has the size of the learning rate whatever the gradient is: its moments show the gradients.
    a, b = (algorithm.update_one(state, data, noise)[0] for data in (one, changed(one, 1)))
    others = [0, 2]
    ma, mb = a.alpha_adam.m["log_alpha"], b.alpha_adam.m["log_alpha"]
    if variant == "mtmh":
        # The temperature's gradient reads the policy before the update, which is shared up to here.
        assert torch.equal(ma[others], mb[others])
        for moments in ("policy_adam", "critic_adam"):
            for name in ("w2", "b2"):
                x, y = (getattr(s, moments).m[name].movedim(-3, 0) for s in (a, b))
                if moments == "critic_adam":  # the policy's gradient also goes through the updated critic, whose trunk is shared
                    assert torch.equal(x[others], y[others])
                assert not torch.equal(x[1], y[1])
    else:
        torch.testing.assert_close(ma[others], mb[others])
    assert ma[1] != mb[1]


def test_a_tasks_loss_has_no_gradient_in_another_tasks_head():
    algorithm = sac(multi_head=True)
    state, one = index_tree(algorithm.init([0]), 0), batch(algorithm)
    noise = torch.randn(K, 6, ACT)

    def q(critic):
        return algorithm.q_values(critic, one.obs, one.action)[:, 1].sum()

    def act(policy):
        return algorithm.sample_action(policy, one.obs, noise)[1][1].sum()

    for grads in (torch.func.grad(q)(state.params.critic), torch.func.grad(act)(state.params.policy)):
        for name in ("w2", "b2"):
            by_task = grads[name].movedim(-3, 0).abs().flatten(1).amax(1)
            assert by_task[[0, 2]].tolist() == [0.0, 0.0]
            assert by_task[1] > 0
        told = grads["w0"][..., -K:, :].movedim(-2, 0).abs().flatten(1).amax(1)
        assert told[[0, 2]].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("how", [in_turn, stacked])
@pytest.mark.parametrize("variant", VARIANTS)
def test_row_s_of_a_stack_is_the_seed_alone(variant, how):
    algorithm = sac(**VARIANTS[variant])
    together = updates(algorithm, algorithm.init([3, 4, 5]), [3, 4, 5], 4, how)
    for s, seed in enumerate([3, 4, 5]):
        alone = updates(algorithm, algorithm.init([seed]), [seed], 4)
        for (name, a), (_, b) in zip(named_leaves(together), named_leaves(alone), strict=True):
            torch.testing.assert_close(a[s], b[0], rtol=1e-5, atol=1e-6, msg=f"{variant} {name}")


def reference_pcgrad(grads: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Algorithm 1 of Yu et al. 2020, literally."""
    surgered = []
    for i, own in enumerate(grads):
        g = own.clone()
        for j in order[i].argsort().tolist():
            if j != i and g @ grads[j] < 0:
                g = g - (g @ grads[j]) / (grads[j] @ grads[j]) * grads[j]
        surgered.append(g)
    return torch.stack(surgered)


@pytest.mark.parametrize("seed", range(5))
def test_pcgrad_is_its_algorithm(seed):
    g = torch.Generator().manual_seed(seed)
    grads = torch.randn(6, 9, generator=g, dtype=torch.float64)
    order = torch.rand(6, 6, generator=g)
    exact = reference_pcgrad(grads, order)
    torch.testing.assert_close(projected(grads @ grads.T, order) @ grads, exact)
    parts = {"a": grads[:, :4].view(6, 2, 2), "b": grads[:, 4:]}
    mean = pcgrad(parts, order)
    torch.testing.assert_close(torch.cat([mean["a"].flatten(), mean["b"]]), exact.mean(0))
    assert not torch.allclose(exact.mean(0), grads.mean(0))


def test_pcgrad_leaves_agreeing_and_vanishing_gradients_alone():
    grads = torch.tensor([[1.0, 0.2], [0.3, 1.0], [0.0, 0.0]])
    torch.testing.assert_close(pcgrad({"g": grads}, torch.rand(3, 3))["g"], grads.mean(0))


def test_without_conflicts_pcgrad_is_plain_sac():
    """One task has nobody to conflict with."""
    states = []
    for pc in (False, True):
        algorithm = sac(tasks=1, pcgrad=pc)
        states.append(updates(algorithm, algorithm.init([0]), [0], 1))
    for (name, a), (_, b) in zip(named_leaves(states[0]), named_leaves(states[1]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, msg=name)


def test_the_tasks_gradients_of_pcgrad_add_up_to_the_whole():
    algorithm = sac(pcgrad=True, multi_head=True)
    state, one = index_tree(algorithm.init([0]), 0), batch(algorithm)
    data = Data(one.obs, one.action, one.reward, torch.full((K, 1), 0.3), torch.randn(K, 6, ACT))
    weights = torch.tensor([0.5, 1.0, 1.5])
    for losses, networks in (
        (algorithm.critic_losses, [state.params.critic]),
        (algorithm.policy_losses, [state.params.policy, state.params.critic]),
    ):
        parts, values, _ = algorithm._gradients_by_task(losses, networks, data, weights)
        whole = torch.func.grad(lambda p: (weights * losses(p, *networks[1:], data)[0]).mean())(networks[0])  # noqa: B023
        torch.testing.assert_close(values, losses(*networks, data)[0])
        for name, g in whole.items():
            torch.testing.assert_close(parts[name].mean(0), g, rtol=1e-4, atol=1e-6, msg=name)


def test_clipping_keeps_the_direction_and_bounds_the_common_norm():
    grads = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([4.0])}
    clipped = clip_norm(grads, 1.0)
    torch.testing.assert_close(torch.cat(list(clipped.values())), torch.tensor([0.6, 0.0, 0.8]))
    assert all(torch.equal(clip_norm(grads, limit)[k], grads[k]) for limit in (0.0, 5.1) for k in grads)
    zero = {"a": torch.zeros(2)}
    assert torch.equal(clip_norm(zero, 1.0)["a"], zero["a"])


def test_weights_by_temperature():
    algorithm = sac(task_weights="temperature")
    log_alpha = torch.tensor([0.0, -1.0, -2.0])
    expected = K * (-log_alpha).exp() / (-log_alpha).exp().sum()
    torch.testing.assert_close(algorithm.task_weights(log_alpha), expected)
    assert sac().task_weights(log_alpha).tolist() == [1.0, 1.0, 1.0]


def test_rewards_of_every_task_get_the_same_size():
    algorithm = sac(normalize_reward=True, policy_lr=1e-12, critic_lr=1e-12, alpha_lr=1e-12)
    state = algorithm.init([0])
    sizes = torch.tensor([0.1, 1.0, 20.0])
    for i in range(5):
        one = batch(algorithm, i)
        one = one._replace(reward=one.reward * sizes[:, None])
        algorithm.update(state, map_tree(lambda leaf: leaf[None], one), algorithm.noise(state, [torch.Generator().manual_seed(i)]))
    seen = torch.stack([batch(algorithm, i).reward for i in range(5)], 1).flatten(1) * sizes[:, None]
    torch.testing.assert_close(state.normalizer.reward_square[0], seen.square().mean(1))


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"max_grad_norm": -1.0}, "max_grad_norm"), ({"task_weights": "loss"}, "equal, temperature"), ({"adam_eps": 0.0}, "adam_eps")],
)
def test_impossible_settings_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        Config(**settings)
