"""The side of ``bench/pearl_update.py`` that is katerakelly/oyster, the code of PEARL's authors: unmodified, from the folder in ``SOURCE``.

It is of 2019 and torch 1.0.1. What it needs under a torch of today: gymnasium's spaces for gym's, and empty modules in place of its timer
and its log, which no update calls.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import cycle
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from pearl_sides import (
    DRAWN,
    GAMMA,
    KL_WEIGHT,
    LOSSES,
    LR,
    NETWORKS,
    READY,
    RECENT,
    REGULAR,
    REWARD_SCALE,
    SOURCE,
    TAU,
    Sizes,
    drawing,
    moved,
    same_noise,
    torch_gflop,
    work,
)
from sac_sides import ACTION, OBS, Data, Mode, spaces

CHOICES = {"recurrent": False, "use_information_bottleneck": True, "sparse_rewards": False, "use_next_obs_in_context": False}
"""of its ``configs/default.py``"""


class Oyster:
    """``_do_training``, which its training loop calls once per update."""

    packages = ("torch", "numpy", "gymnasium")

    def __init__(self, sizes: Sizes, data: Data, threads: int, precision: str = "") -> None:
        if precision:
            torch.set_float32_matmul_precision(precision)
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        torch.distributions.Distribution.set_default_validate_args(False)  # as in the torch that it was written for
        load(os.environ[SOURCE])
        ours, ring, source = drawing(sizes, data)
        self.learner = self.build(sizes, data)
        begin_alike(self.learner, ours.init([0]).params)
        self.batch, self.tasks, self.still = tensors(source), range(sizes.tasks), True
        ring.close()
        self.switch()
        self.about = {"work": self.work(same_noise(ours))}
        self.modes = {DRAWN: Mode(lambda: self.update(False), 1), READY: Mode(lambda: self.update(True), 1)}
        self.note = f"its own code, unmodified, eager; torch.get_float32_matmul_precision() = {torch.get_float32_matmul_precision()}"

    @staticmethod
    def build(sizes: Sizes, data: Data) -> Any:
        """As its ``launch_experiment.py`` does."""
        networks, sac = import_module("rlkit.torch.networks"), import_module("rlkit.torch.sac.sac")
        agents, policies = import_module("rlkit.torch.sac.agent"), import_module("rlkit.torch.sac.policies")
        Z, hidden = sizes.latent, list(sizes.hidden)
        encoder = networks.MlpEncoder(hidden_sizes=list(sizes.encoder), input_size=OBS + ACTION + 1, output_size=2 * Z)
        critics = [networks.FlattenMlp(hidden_sizes=hidden, input_size=OBS + ACTION + Z, output_size=1) for _ in range(2)]
        value = networks.FlattenMlp(hidden_sizes=hidden, input_size=OBS + Z, output_size=1)
        policy = policies.TanhGaussianPolicy(hidden_sizes=hidden, obs_dim=OBS + Z, latent_dim=Z, action_dim=ACTION)
        learner = sac.PEARLSoftActorCritic(
            env=SimpleNamespace(**dict(zip(("observation_space", "action_space"), spaces(), strict=True))),
            train_tasks=list(range(sizes.tasks)),
            eval_tasks=[],
            nets=[agents.PEARLAgent(Z, encoder, policy, **CHOICES), *critics, value],
            latent_dim=Z,
            meta_batch=sizes.tasks,
            batch_size=sizes.batch,
            embedding_batch_size=sizes.context,
            embedding_mini_batch_size=sizes.context,
            replay_buffer_size=data.reward.size // sizes.tasks,
            discount=GAMMA,
            soft_target_tau=TAU,
            **{f"{name}_lr": LR for name in ("policy", "qf", "vf", "context")},
            reward_scale=REWARD_SCALE,
            kl_lambda=KL_WEIGHT,
            policy_mean_reg_weight=REGULAR,
            policy_std_reg_weight=REGULAR,
            **CHOICES,
        )
        fill(learner, data, sizes.tasks)
        learner.training_mode(True)
        return learner

    def switch(self) -> None:
        """Lets the ready batch be used instead of a drawn one."""
        learner, (batch, context) = self.learner, self.batch
        draw, draw_context = learner.sample_sac, learner.sample_context
        learner.sample_sac = lambda tasks: list(batch) if self.still else draw(tasks)
        learner.sample_context = lambda tasks: context if self.still else draw_context(tasks)

    def update(self, still: bool) -> None:
        self.still = still
        self.learner._do_training(self.tasks)

    def work(self, noise: Any) -> dict[str, Any]:
        """Its losses are in the statistics that it makes in its first update after an evaluation, and in none that is timed."""
        learner, before = self.learner, clones(self.learner)
        with given(noise):
            gflop, after = torch_gflop(lambda: self.update(True)), clones(self.learner)
            steps = {name: moved(before[name], after[name]) * taken for name, taken in self.steps().items()}
            learner.eval_statistics = None
            self.update(True)
        said = self.learner.eval_statistics
        names = dict(zip(LOSSES, ("QF Loss", "KL Loss", "VF Loss", "Policy Loss"), strict=True))
        losses = {name: float(said[title]) for name, title in names.items()}
        return work({name: sum(leaf.numel() for leaf in before[name]) for name in NETWORKS}, steps, gflop, losses)

    def steps(self) -> dict[str, int]:
        """That its optimizers have taken; its targets are moved without one."""
        one = self.learner
        optimizers = {
            "encoder": [one.context_optimizer],
            "policy": [one.policy_optimizer],
            "critic": [one.qf1_optimizer, one.qf2_optimizer],
            "value": [one.vf_optimizer],
        }
        taken = {name: {int(s["step"]) for o in several for s in o.state.values()} for name, several in optimizers.items()}
        return {name: min(counts) if len(counts) == 1 else -1 for name, counts in taken.items()} | {"target": 1}


@contextmanager
def given(noise: Any) -> Iterator[None]:
    """Lets it draw these numbers: z task by task, as often as it likes, and one draw for all actions."""
    rows, actions = cycle(noise.z[0]), noise.policy[0].flatten(0, 1)
    z = patch("torch.distributions.normal._standard_normal", lambda *_, **__: next(rows))
    with z, patch("torch.normal", lambda mean, std: mean + std * actions):
        yield


def load(folder: str) -> None:
    import gymnasium

    sys.path.append(folder)
    unused = {name: ModuleType(name) for name in ("gtimer", "rlkit.core.logger")}
    sys.modules.update({"gym": gymnasium, "gym.spaces": gymnasium.spaces, **unused})
    import_module("rlkit.torch.pytorch_util").set_gpu_mode(False)


def networks_of(learner: Any) -> dict[str, list[Any]]:
    return {
        "encoder": [learner.agent.context_encoder],
        "policy": [learner.agent.policy],
        "critic": [learner.qf1, learner.qf2],
        "value": [learner.vf],
        "target": [learner.target_vf],
    }


def clones(learner: Any) -> dict[str, list]:
    return {name: [p.detach().clone() for n in several for p in n.parameters()] for name, several in networks_of(learner).items()}


@torch.no_grad()
def begin_alike(learner: Any, params: Any) -> None:
    """With the weights that ours begins with: (1, in, out) and (1, 1, out) of each layer, of the critics (1, 2, ...)."""
    for name, several in networks_of(learner).items():
        tree = params.value if name == "target" else getattr(params, name)
        for i, network in enumerate(several):
            layers = {key: leaf[0, i] if name == "critic" else leaf[0] for key, leaf in tree.items()}
            last = len(network.fcs)
            for at, layer in enumerate(network.fcs):
                put(layer, layers[f"w{at}"], layers[f"b{at}"])
            outputs = [network.last_fc, network.last_fc_log_std] if name == "policy" else [network.last_fc]
            parts = zip(outputs, *(layers[f"{kind}{last}"].chunk(len(outputs), -1) for kind in "wb"), strict=True)
            for layer, weight, bias in parts:
                put(layer, weight, bias)


def put(layer: torch.nn.Linear, weight: torch.Tensor, bias: torch.Tensor) -> None:
    layer.weight.copy_(weight.T)
    layer.bias.copy_(bias[0])


def tensors(source: Any) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """The first batch of our sampler as its ``sample_sac`` hands one out, and the context. As in Meta-World no step is terminal."""
    source.sample()
    batch = source.assemble(source.buffer)
    reward = batch.reward[..., None].clone()
    return (batch.obs.clone(), batch.action.clone(), reward, batch.next_obs.clone(), torch.zeros_like(reward)), batch.context.clone()


def fill(learner: Any, data: Data, tasks: int) -> None:
    """Its own replay buffers, one per task, full of exactly these transitions; those of the context with the newest only."""
    for k in range(tasks):
        obs, action, reward = (part[k::tasks] for part in data)
        rows = (obs[:, :-1].reshape(-1, OBS), action.reshape(-1, ACTION), reward.reshape(-1, 1), obs[:, 1:].reshape(-1, OBS))
        for replay, newest in ((learner.replay_buffer, len(rows[0])), (learner.enc_replay_buffer, RECENT)):
            buffer = replay.task_buffers[k]
            columns = (buffer._observations, buffer._actions, buffer._rewards, buffer._next_obs)
            for column, values in zip(columns, rows, strict=True):
                column[: len(values[-newest:])] = values[-newest:]
            buffer._size = len(rows[0][-newest:])
