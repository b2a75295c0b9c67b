"""A peer of ``bench/mt_update.py``: multi-task multi-head SAC as plain torch modules with fused Adam, written by us in the common idiom.

No current library of torch has this algorithm, so this is a stand-in, not anybody's code. The idiom: modules with a shared torso, every
input through every head and the head of its task picked afterwards, two separate Q modules, autograd, ``clip_grad_norm_``, critics frozen
while the policy is updated (Spinning Up), targets moved by one ``lerp`` over all parameters. Eager, like nearly all torch code for SAC.
"""

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0
GAMMA, TAU, MAX_GRAD_NORM = 0.99, 0.005, 1.0
ADAM = {"lr": 3e-4, "eps": 1e-5, "fused": True}


class Ready(NamedTuple):
    """One batch of N = K * B transitions, the one-hot of its task at the end of every observation."""

    obs: Tensor
    """(N, O + K)"""
    action: Tensor
    """(N, A)"""
    reward: Tensor
    """(N,)"""
    next_obs: Tensor
    """(N, O + K)"""
    task: Tensor
    """(N,) int64"""


class MultiHead(nn.Module):
    """Shared hidden layers, one linear head per task."""

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int, tasks: int) -> None:
        super().__init__()
        layers = [(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise([inputs, *hidden])]
        self.torso, self.tasks = nn.Sequential(*chain.from_iterable(layers)), tasks
        self.heads = nn.Linear(hidden[-1], tasks * outputs)

    def forward(self, x: Tensor, task: Tensor) -> Tensor:
        out = self.heads(self.torso(x)).view(len(x), self.tasks, -1)
        return out[torch.arange(len(x)), task]


class MultiHeadSac:
    """The learner."""

    def __init__(self, obs: int, action: int, hidden: Sequence[int], tasks: int) -> None:
        self.policy = MultiHead(obs + tasks, hidden, 2 * action, tasks)
        self.q1, self.q2, self.target1, self.target2 = (MultiHead(obs + tasks + action, hidden, 1, tasks) for _ in range(4))
        self.target1.load_state_dict(self.q1.state_dict())
        self.target2.load_state_dict(self.q2.state_dict())
        self.log_alpha, self.target_entropy = torch.zeros(tasks, requires_grad=True), -float(action)
        self.q_parameters = [*self.q1.parameters(), *self.q2.parameters()]
        self.target_parameters = [*self.target1.parameters(), *self.target2.parameters()]
        self.policy_parameters = list(self.policy.parameters())
        self.q_optimizer = torch.optim.Adam(self.q_parameters, **ADAM)
        self.policy_optimizer = torch.optim.Adam(self.policy_parameters, **ADAM)
        self.alpha_optimizer = torch.optim.Adam([self.log_alpha], **ADAM)

    def act(self, obs: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Actions (N, A) and their log-densities (N,)."""
        mean, log_std = self.policy(obs, task).chunk(2, dim=-1)
        normal = torch.distributions.Normal(mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX).exp())
        u = normal.rsample()
        correction = 2 * (0.6931471805599453 - u - F.softplus(-2 * u))
        return torch.tanh(u), (normal.log_prob(u) - correction).sum(-1)

    def q_values(self, obs: Tensor, action: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([obs, action], -1)
        return self.q1(x, task).squeeze(-1), self.q2(x, task).squeeze(-1)

    def update(self, batch: Ready) -> None:
        """One update: critics, policy, temperatures, targets."""
        alpha = self.log_alpha.detach().exp()[batch.task]
        self.update_critics(batch, alpha)

        for p in self.q_parameters:
            p.requires_grad_(False)
        action, log_prob = self.act(batch.obs, batch.task)
        q = torch.min(*self.q_values(batch.obs, action, batch.task))
        self.step(self.policy_optimizer, (alpha * log_prob - q).mean(), self.policy_parameters)
        for p in self.q_parameters:
            p.requires_grad_(True)

        entropy_gap = log_prob.detach() + self.target_entropy
        self.step(self.alpha_optimizer, -(self.log_alpha[batch.task] * entropy_gap).mean(), None)
        with torch.no_grad():
            torch._foreach_lerp_(self.target_parameters, self.q_parameters, TAU)

    def update_critics(self, batch: Ready, alpha: Tensor) -> None:
        with torch.no_grad():
            action, log_prob = self.act(batch.next_obs, batch.task)
            x = torch.cat([batch.next_obs, action], -1)
            next_q = torch.min(self.target1(x, batch.task), self.target2(x, batch.task)).squeeze(-1)
            y = batch.reward + GAMMA * (next_q - alpha * log_prob)
        q1, q2 = self.q_values(batch.obs, batch.action, batch.task)
        self.step(self.q_optimizer, F.mse_loss(q1, y) + F.mse_loss(q2, y), self.q_parameters)

    @staticmethod
    def step(optimizer: torch.optim.Optimizer, loss: Tensor, clipped: list[Tensor] | None) -> None:
        optimizer.zero_grad()
        loss.backward()
        if clipped is not None:
            nn.utils.clip_grad_norm_(clipped, MAX_GRAD_NORM)
        optimizer.step()
