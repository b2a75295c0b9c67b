"""RL2 held to what is known exactly: what is remembered, what is learned from, pieces of trials, gradients, and that it learns to learn."""

from typing import Any

import numpy as np
import pytest
import torch

from algos.lib.recurrent import zero_carry
from algos.lib.returns import features
from algos.rl2 import RL2, Config, Trials, make, part
from core.errors import ConfigError
from core.seen import Watch
from core.tree import index_tree, map_tree, named_leaves
from core.types import Field, Round, Seen, TaskSpec
from tests.algos.made import params as arrays_of

OBS, ACT, EPISODES, HORIZON, TASKS, N = 3, 2, 3, 4, 2, 3
cells = pytest.mark.parametrize("cell", ["gru", "lstm"])


def rl2(tasks: int = TASKS, discrete: bool = False, **settings: Any) -> RL2:
    config = Config(**{"episodes": EPISODES, "hidden": 6, "epochs": 2, "minibatches": 2} | settings)
    return make(config, TaskSpec("test", (Field("obs", (OBS,)),), ACT, HORIZON, discrete=discrete), tasks)


def a_round(seed: int = 0, early: bool = True) -> Round:
    """One seed's; with ``early``, episodes have 1 to T steps."""
    g = torch.Generator().manual_seed(seed)
    lead = (1, TASKS, N, EPISODES, HORIZON)
    lengths = torch.randint(1, HORIZON + 1, lead[:-1], generator=g) if early else torch.full(lead[:-1], HORIZON)
    valid = (torch.arange(HORIZON) < lengths[..., None]).float()
    obs, action, reward = (torch.randn(*lead, *shape, generator=g) for shape in ((OBS,), (ACT,), ()))
    return Round(obs * valid[..., None], action * valid[..., None], reward * valid, valid, {})


def of_one(state: Any) -> Any:
    return index_tree(state, 0)


def ready(algorithm: RL2, batch: Round, seed: int = 3) -> tuple[dict[str, torch.Tensor], Trials]:
    """Parameters that do something, and the trials as the policy acted them."""
    g = torch.Generator().manual_seed(seed)
    params = {name: leaf + 0.5 * torch.randn(leaf.shape, generator=g) for name, leaf in of_one(algorithm.init([seed])).params.items()}
    trials, _ = algorithm.trials(batch, params)
    return params, trials._replace(log_prob=algorithm.log_probs(params, trials))


def nothing(params: dict[str, torch.Tensor], rows: torch.Tensor) -> dict[str, torch.Tensor]:
    """The memory of these trials before they begin."""
    return zero_carry(part(params, "cell"), len(rows))


def updated(algorithm: RL2, rounds: list[Round], state: Any = None, noise: int = 0) -> Any:
    """In place, a round after the other; round i is dealt by seed ``noise`` + i."""
    state = algorithm.init([7]) if state is None else state
    for i, batch in enumerate(rounds):
        algorithm.update(state, map_tree(lambda leaf: leaf[None], batch), torch.tensor([noise + i]))
    return state


def test_trials_are_the_steps_taken_one_after_the_other():
    """Written out step by step, for every trial, from the data of its own episodes."""
    algorithm, batch = rl2(seen_reward_scale=0.5), a_round()
    trials, _ = algorithm.trials(batch, {})
    assert trials.x.shape == (len(trials.x), TASKS * N, OBS + ACT + 2)
    for b in range(TASKS * N):
        k, n, t, action, reward = b // N, b % N, 0, torch.zeros(ACT), torch.tensor(0.0)
        for e in range(EPISODES):
            for step in range(int(batch.valid[0, k, n, e].sum())):
                at = 0, k, n, e, step
                later = torch.tensor([float(e > 0 and step == 0)])
                assert torch.equal(trials.x[t, b], torch.cat([batch.obs[at], action, reward[None] * 0.5, later]))
                action, reward = batch.action[at], batch.reward[at]
                assert torch.equal(trials.action[t, b], action)
                assert trials.reward[t, b] == reward
                t += 1
        assert trials.valid[:, b].tolist() == [1.0] * t + [0.0] * (len(trials.x) - t)


@cells
@pytest.mark.parametrize("encoder", [(), (5, 4)])
@pytest.mark.parametrize("discrete", [False, True])
def test_actors_compute_the_learners_policy(cell, encoder, discrete):
    """numpy, told by ``Watch``, step by step through two trials of episodes that end early, against torch over whole sequences."""
    algorithm = rl2(1, discrete, cell=cell, encoder=encoder, seen_reward_scale=0.1)
    state = algorithm.init([1])
    map_tree(lambda leaf: leaf.add_(0.2), state.params)
    own, carry, watch = arrays_of(algorithm, state), None, Watch([0], ACT, trial=EPISODES)
    one = map_tree(lambda leaf: leaf[0], state).params
    rng = np.random.default_rng(0)
    for trial in range(2):
        batch, t = a_round(trial), 0
        batch = batch._replace(**{name: getattr(batch, name)[:, :1, :1] for name in ("obs", "action", "reward", "valid")})
        expected = algorithm.read(one, algorithm.hidden(one, algorithm.trials(batch, one)[0].x)[0])
        for e in range(EPISODES):
            length = int(batch.valid[0, 0, 0, e].sum())
            for step in range(length):
                at = 0, 0, 0, e, step
                noise = rng.standard_normal((1, ACT), dtype=np.float32)
                action, carry, extra = algorithm.act(own, carry, watch.seen({"obs": batch.obs[at][None].numpy()}), noise)
                out = algorithm.head.draw(own, expected.out[t].numpy(), noise)
                np.testing.assert_allclose(action, out, atol=1e-5)
                assert extra == {}
                watch.acted(batch.action[at][None].numpy())
                watch.stepped(batch.reward[at][None].numpy(), np.array([step == length - 1]))
                t += 1


def seen_at(trial: bool, episode: bool) -> Seen:
    zeros = np.zeros((2, ACT), np.float32)
    flags = (np.array([flag, False]) for flag in (trial, episode))
    return Seen(np.ones((2, OBS), np.float32), np.zeros(2, int), np.arange(2), *flags, zeros, np.zeros(2, np.float32))


@cells
def test_memory_lasts_over_episodes_and_ends_with_the_trial(cell):
    algorithm = rl2(cell=cell)
    own, carry = arrays_of(algorithm, algorithm.init([0])), None
    for _ in range(3):
        _, carry, _ = algorithm.act(own, carry, seen_at(False, False), None)
    kept = {name: value.copy() for name, value in carry.items()}
    assert all(value.shape == (2, 6) for value in kept.values())
    changed = {name: value * np.array([[0.5], [1]], np.float32) for name, value in kept.items()}

    def after(memory, **flags):
        return algorithm.act(own, memory, seen_at(**flags), None)[1]["h"]

    assert not np.allclose(after(kept, trial=False, episode=True)[0], after(changed, trial=False, episode=True)[0])
    np.testing.assert_array_equal(after(kept, trial=True, episode=True)[0], after(changed, trial=True, episode=True)[0])
    np.testing.assert_array_equal(after(kept, trial=True, episode=True)[0], after(None, trial=True, episode=True)[0])
    np.testing.assert_array_equal(after(kept, trial=True, episode=True)[1], after(kept, trial=False, episode=False)[1])
    assert all(np.array_equal(kept[name], carry[name]) for name in kept), "a carry is not written again"


@pytest.mark.parametrize(("chunk", "burn_in"), [(0, 0), (5, 3)])
def test_what_lies_behind_the_end_of_an_episode_has_no_influence(chunk, burn_in):
    batch, algorithm = a_round(), rl2(chunk=chunk, burn_in=burn_in)
    rubbish = batch._replace(
        obs=torch.where(batch.valid[..., None] > 0, batch.obs, torch.nan),
        action=torch.where(batch.valid[..., None] > 0, batch.action, 1e9),
        reward=torch.where(batch.valid > 0, batch.reward, torch.inf),
    )
    longer = map_tree(lambda leaf: torch.cat([leaf, torch.zeros_like(leaf)], 4), batch)  # T twice as large
    expected = updated(algorithm, [batch])
    for other in (rubbish, longer):
        for (path, a), (_, b) in zip(named_leaves(expected), named_leaves(updated(algorithm, [other])), strict=True):
            assert torch.equal(a, b), path


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("across", [None, 0.5, 0.0])
def test_returns_go_on_over_the_ends_of_episodes(memory, across):
    """With lambda = 1 an advantage is the return of all the rest of the trial, summed here step by step, less the
    prediction of a ridge regression in each task."""
    gamma, batch = 0.9, a_round()
    algorithm = rl2(gae_lambda=1.0, gamma=gamma, episode_gamma=across, normalize_advantage=False, memory_baseline=memory)
    params = of_one(algorithm.init([0])).params
    trials, metrics = algorithm.trials(batch, params)
    known = algorithm.known(params, trials.x).transpose(0, 1)
    parts = [features(trials.x.transpose(0, 1)).transpose(0, 1)] + ([algorithm.hidden(params, trials.x)[0]] if memory else [])
    assert torch.equal(known, torch.cat(parts, -1))
    returns = torch.zeros_like(trials.reward)
    for b in range(TASKS * N):
        rest = torch.tensor(0.0)
        for t in reversed(range(int(trials.valid[:, b].sum()))):
            rest = trials.reward[t, b] + rest
            returns[t, b] = rest
            rest = rest * (gamma if across is None or not trials.x[t, b, -1] else across)  # seen from the step before
    everything = zip(*(leaf.chunk(TASKS, 1) for leaf in (known, returns, trials.valid, trials.advantage)), strict=True)
    for x, gain, counts, advantage in everything:
        inputs = (x * counts[..., None]).flatten(0, 1).double()
        best = torch.linalg.inv(inputs.T @ inputs + 1e-5 * torch.eye(inputs.shape[1])) @ inputs.T @ gain.flatten().double()
        torch.testing.assert_close(advantage.flatten().double(), gain.flatten() - inputs @ best, rtol=0, atol=1e-4)
    assert float(metrics["trial_return"]) == pytest.approx(float(batch.reward.sum()) / (TASKS * N), rel=1e-5)
    assert float(metrics["explained_variance"]) > 0.1


def test_advantages_of_each_task_are_on_one_scale():
    batch = a_round()
    batch.reward[:, 1] *= 100
    trials, _ = rl2().trials(batch, {})
    for of_task, counts in zip(trials.advantage.chunk(TASKS, 1), trials.valid.chunk(TASKS, 1), strict=True):
        assert of_task.sum() == pytest.approx(0, abs=1e-4)
        assert of_task.square().sum() / counts.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("discrete", [False, True])
def test_the_first_gradient_is_the_policy_gradient(discrete):
    """At ratio 1: of -mean(advantage * log_prob), by autograd over torch's own GRU."""
    algorithm = rl2(discrete=discrete, max_grad_norm=0, entropy=0.0, encoder=(4,))
    batch = a_round()
    if discrete:
        batch = batch._replace(action=torch.nn.functional.one_hot(batch.action.argmax(-1), ACT) * batch.valid[..., None])
    params, trials = ready(algorithm, batch)
    rows, count = torch.arange(TASKS * N), trials.valid.sum()
    (piece,) = algorithm.pieces(len(trials.x))
    grads, _, _ = algorithm.gradient(params, trials, rows, piece, nothing(params, rows), count)

    leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    x = torch.tanh(trials.x @ leaves["encoder.w0"] + leaves["encoder.b0"])
    zeros = torch.zeros(12)
    bias = torch.cat([zeros, leaves["cell.bn"][0]])
    weights = [leaves["cell.wi"].T, leaves["cell.wh"].T, leaves["cell.b"][0], bias]
    hidden, _ = torch.gru(x, torch.zeros(1, TASKS * N, 6), weights, True, 1, 0.0, True, False, False)
    out = hidden @ leaves["head.w0"] + leaves["head.b0"]
    if discrete:
        log_prob = torch.distributions.Categorical(logits=out).log_prob(trials.action.argmax(-1))
    else:
        log_prob = torch.distributions.Normal(out, leaves["log_std"].exp()).log_prob(trials.action).sum(-1)
    expected = torch.autograd.grad(-(trials.advantage * log_prob * trials.valid).sum() / count, list(leaves.values()))
    for (name, grad), other in zip(grads.items(), expected, strict=True):
        torch.testing.assert_close(grad, other, rtol=1e-4, atol=1e-6, msg=name)
        assert grad.abs().max() > 1e-4


@cells
@pytest.mark.parametrize(("chunk", "burn_in"), [(5, 0), (5, 2), (4, 4), (1, 1), (11, 3), (100, 0)])
def test_a_piece_has_the_values_of_the_whole(cell, chunk, burn_in):
    """Each begins with the memory that the one before it handed on: the same log-probabilities, hence the same sums."""
    params, trials = ready(rl2(cell=cell), a_round())
    whole, rows = trials.log_prob, torch.tensor([4, 0, 1])
    algorithm = rl2(cell=cell, chunk=chunk, burn_in=burn_in)
    torch.testing.assert_close(algorithm.log_probs(params, trials), whole)
    # Asked for ratios against what is shifted by 0.1, each piece must see e^0.1 or nothing at all.
    shifted, carry = trials._replace(log_prob=whole - 0.1, advantage=torch.ones_like(whole)), nothing(params, rows)
    for piece in algorithm.pieces(len(whole)):
        _, sums, carry = algorithm.gradient(params, shifted, rows, piece, carry, torch.tensor(1.0))
        steps = trials.valid[piece.start : piece.stop, rows].sum()
        torch.testing.assert_close(-sums["policy_loss"], steps * torch.tensor(0.1).exp(), rtol=1e-5, atol=1e-5)


@cells
def test_gradients_flow_back_through_a_piece_and_no_further(cell):
    """Against autograd over the piece, with what came before it as a constant; where the next one watches from makes no difference."""
    params, trials = ready(rl2(cell=cell), a_round())
    rows, carry = torch.arange(6), nothing(params, torch.arange(6))
    for burn_in in (0, 2, 5):
        algorithm = rl2(cell=cell, chunk=5, burn_in=burn_in, max_grad_norm=0)
        piece = algorithm.pieces(len(trials.x))[1]
        with torch.no_grad():
            _, before = algorithm.hidden(params, trials.x[: piece.watch], carry) if piece.watch else (None, carry)
            _, known = algorithm.hidden(params, trials.x[:5], carry)
        grads, _, _ = algorithm.gradient(params, trials, rows, piece, before, torch.tensor(1.0))
        leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
        at = algorithm.read(leaves, algorithm.hidden(leaves, trials.x[5:10], known)[0])
        ratio = (algorithm.head.log_prob(at, trials.action[5:10]) - trials.log_prob[5:10]).exp()
        expected = torch.autograd.grad(-(ratio * trials.advantage[5:10] * trials.valid[5:10]).sum(), list(leaves.values()))
        for (name, grad), other in zip(grads.items(), expected, strict=True):
            torch.testing.assert_close(grad, other, rtol=1e-4, atol=1e-5, msg=name)


def test_a_stale_memory_is_brought_up_to_date_by_a_burn_in():
    """Over all that was before, whatever was handed on is forgotten."""
    params, trials = ready(rl2(), a_round())
    rows, stale = torch.arange(6), map_tree(lambda leaf: leaf * 3, params)
    for burn_in in (0, 5):
        algorithm = rl2(chunk=5, burn_in=burn_in)
        first, second = algorithm.pieces(len(trials.x))[:2]
        _, _, carry = algorithm.gradient(stale, trials, rows, first, nothing(params, rows), torch.tensor(1.0))
        _, sums, _ = algorithm.gradient(params, trials, rows, second, carry, torch.tensor(1.0))
        assert (abs(float(sums["kl"])) < 1e-5) == bool(burn_in)


@cells
def test_one_piece_as_long_as_the_trial_is_the_whole(cell):
    states = [updated(rl2(cell=cell, chunk=chunk), [a_round()]) for chunk in (0, 12, 50)]
    for other in states[1:]:
        for (path, a), (_, b) in zip(named_leaves(states[0]), named_leaves(other), strict=True):
            assert torch.equal(a, b), path


@pytest.mark.parametrize("minibatches", [1, 4, 50])
@pytest.mark.parametrize(("chunk", "burn_in"), [(0, 0), (5, 0), (5, 3), (1, 0), (4, 4)])
def test_an_epoch_learns_from_each_step_once(minibatches, chunk, burn_in):
    """Also from the tail that is shorter than a chunk; and without advantages to tell steps apart, the weights add up to one per piece."""
    algorithm = rl2(minibatches=minibatches, chunk=chunk, burn_in=burn_in)
    _, trials = ready(algorithm, a_round())
    times = torch.zeros_like(trials.valid)
    starts: dict[tuple, list[int]] = {}
    for rows, piece in algorithm.deal(trials.valid, torch.Generator().manual_seed(0)):
        assert piece in algorithm.pieces(len(times))
        assert piece.watch == max(0, piece.start - burn_in)
        times[piece.start : piece.stop, rows] += 1
        starts.setdefault(tuple(rows.tolist()), []).append(piece.start)
    assert (times[trials.valid > 0] == 1).all()
    assert all(each == sorted(each) for each in starts.values()), "pieces are in the order of time"
    assert sorted(row for rows in starts for row in rows) == list(range(TASKS * N))


def test_the_step_size_falls_to_a_tenth():
    """Adam's first step has the size of its rate, whatever the gradient is; later ones are asked for."""
    algorithm = rl2(decay_steps=10, lr=0.5)
    assert [round(float(algorithm.rate(torch.tensor(float(n)))), 6) for n in (1, 6, 10, 11, 1000)] == [0.5, 0.25, 0.05, 0.05, 0.05]
    assert rl2(lr=0.5).rate(torch.tensor(7.0)) == 0.5
    begun = rl2().init([7]).params
    steady, fallen = (updated(rl2(epochs=1, minibatches=1, lr=1e-3, decay_steps=n), [a_round(), a_round(1)]).params for n in (0, 1))
    moved = [sum(float((own[name] - begun[name]).abs().sum()) for name in begun) for own in (steady, fallen)]
    assert 0.5 < moved[1] / moved[0] < 0.9  # the first step is the same, the second a tenth


def test_metrics_count_each_step_once():
    """At the start the entropy of all steps is the same, so its mean tells whether weights add up."""
    for chunk in (0, 5):
        algorithm = rl2(chunk=chunk, epochs=1, lr=1e-12)
        state = algorithm.init([0])
        metrics = algorithm.update(state, map_tree(lambda leaf: leaf[None], a_round()), torch.tensor([1]))
        expected = ACT * 0.5 * np.log(2 * np.pi * np.e)
        assert float(metrics["entropy"]) == pytest.approx(expected, rel=1e-5)
        assert float(metrics["kl"]) == pytest.approx(0, abs=1e-6)


def test_it_learns_to_learn():
    """Two arms, of which one pays always and the other never. Who remembers gets 5.5 of 6 pulls, who does not gets 3."""
    spec = TaskSpec("arms", (Field("obs", (1,)),), 2, 1, discrete=True)
    settings = {"episodes": 6, "hidden": 16, "lr": 0.02, "epochs": 3, "minibatches": 1, "gamma": 1.0, "entropy": 0.01}
    algorithm, rng, trials, got = make(Config(**settings), spec, 1), np.random.default_rng(0), 128, []
    state = algorithm.init([0])
    for i in range(30):
        own, carry, watch, steps = arrays_of(algorithm, state), None, Watch(np.zeros(trials), 2), []
        pays = np.eye(2, dtype=np.float32)[rng.integers(2, size=trials)]
        for _ in range(6):  # an episode is one pull
            noise = rng.standard_normal((trials, 2), dtype=np.float32)
            action, carry, _ = algorithm.act(own, carry, watch.seen({"obs": np.zeros((trials, 1), np.float32)}), noise)
            reward = (action * pays).sum(1)
            watch.acted(action)
            watch.stepped(reward, np.ones(trials, bool))
            steps.append((action, reward))
        actions, rewards = (torch.from_numpy(np.stack(column, 1)) for column in zip(*steps, strict=True))
        lead = (1, 1, 1, trials, 6, 1)
        batch = Round(torch.zeros(*lead, 1), actions.reshape(*lead, 2), rewards.reshape(lead), torch.ones(lead), {})
        metrics = algorithm.update(state, batch, torch.tensor([i]))
        got.append(float(metrics["trial_return"]))
    assert np.mean(got[:3]) < 3.3
    assert np.mean(got[-3:]) > 5.0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"cell": "rnn"}, "allowed: gru, lstm"),
        ({"burn_in": 5}, "algo.chunk is 0"),
        ({"burn_in": 5, "chunk": 4}, "at most the chunk"),
        ({"chunk": -1}, "algo.chunk is -1"),
        ({"gamma": 1.5}, "algo.gamma is 1.5"),
        ({"episode_gamma": 1.5}, "algo.episode_gamma is 1.5"),
        ({"epochs": 0}, "algo.epochs is 0; it must be positive"),
        ({"encoder": (4, 0)}, "every layer"),
    ],
)
def test_impossible_settings_are_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        Config(**settings)
