"""A peer of ``bench/sac_update.py``: SAC in the idiom of CleanRL, written anew from the published algorithm.

CleanRL is a set of scripts, not a library that could be installed and called. Its idiom: two separate Q modules, one ``Adam`` over
both, a tanh-squashed log_std in [-5, 2], the log-density by ``torch.distributions.Normal``, targets moved parameter by parameter.
Its documented defaults are kept (learning rates 3e-4 and 1e-3, tau 0.005, gamma 0.99) but for one: the policy is updated with every
critic update, where CleanRL makes two policy updates every second time. The work per update is the same.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0
GAMMA, TAU, POLICY_LR, Q_LR = 0.99, 0.005, 3e-4, 1e-3


def layers(sizes: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))


class SoftQNetwork(nn.Module):
    def __init__(self, obs: int, action: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.body, self.head = layers([obs + action, *hidden]), nn.Linear(hidden[-1], 1)

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        x = torch.cat([x, a], 1)
        for layer in self.body:
            x = F.relu(layer(x))
        return self.head(x)


class Actor(nn.Module):
    def __init__(self, obs: int, action: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.body = layers([obs, *hidden])
        self.fc_mean, self.fc_logstd = nn.Linear(hidden[-1], action), nn.Linear(hidden[-1], action)
        self.register_buffer("scale", torch.ones(action))
        self.register_buffer("bias", torch.zeros(action))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for layer in self.body:
            x = F.relu(layer(x))
        log_std = torch.tanh(self.fc_logstd(x))
        return self.fc_mean(x), LOG_STD_MIN + 0.5 * (LOG_STD_MAX - LOG_STD_MIN) * (log_std + 1)

    def get_action(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self(x)
        normal = torch.distributions.Normal(mean, log_std.exp())
        u = normal.rsample()
        y = torch.tanh(u)
        log_prob = normal.log_prob(u) - torch.log(self.scale * (1 - y.pow(2)) + 1e-6)
        return y * self.scale + self.bias, log_prob.sum(1, keepdim=True)


class CleanrlStyle:
    """The learner. ``buffer`` is a Stable-Baselines3 ReplayBuffer, as in CleanRL."""

    def __init__(self, obs: int, action: int, hidden: Sequence[int], batch: int, buffer) -> None:
        self.batch, self.buffer = batch, buffer
        self.actor = Actor(obs, action, hidden)
        self.qf1, self.qf2, self.qf1_target, self.qf2_target = (SoftQNetwork(obs, action, hidden) for _ in range(4))
        self.qf1_target.load_state_dict(self.qf1.state_dict())
        self.qf2_target.load_state_dict(self.qf2.state_dict())
        self.q_optimizer = torch.optim.Adam([*self.qf1.parameters(), *self.qf2.parameters()], lr=Q_LR)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=POLICY_LR)
        self.target_entropy, self.log_alpha = -float(action), torch.zeros(1, requires_grad=True)
        self.alpha, self.a_optimizer = 1.0, torch.optim.Adam([self.log_alpha], lr=Q_LR)

    def update(self) -> None:
        data = self.buffer.sample(self.batch)
        with torch.no_grad():
            next_actions, next_log_pi = self.actor.get_action(data.next_observations)
            q1 = self.qf1_target(data.next_observations, next_actions)
            q2 = self.qf2_target(data.next_observations, next_actions)
            min_q = torch.min(q1, q2) - self.alpha * next_log_pi
            target = data.rewards.flatten() + (1 - data.dones.flatten()) * GAMMA * min_q.view(-1)
        loss1 = F.mse_loss(self.qf1(data.observations, data.actions).view(-1), target)
        loss2 = F.mse_loss(self.qf2(data.observations, data.actions).view(-1), target)
        step(self.q_optimizer, loss1 + loss2)

        pi, log_pi = self.actor.get_action(data.observations)
        min_q_pi = torch.min(self.qf1(data.observations, pi), self.qf2(data.observations, pi))
        step(self.actor_optimizer, (self.alpha * log_pi - min_q_pi).mean())

        with torch.no_grad():
            _, log_pi = self.actor.get_action(data.observations)
        step(self.a_optimizer, (-self.log_alpha.exp() * (log_pi + self.target_entropy)).mean())
        self.alpha = self.log_alpha.exp().item()
        self.move(self.qf1, self.qf1_target)
        self.move(self.qf2, self.qf2_target)

    @staticmethod
    def move(source: nn.Module, target: nn.Module) -> None:
        for p, t in zip(source.parameters(), target.parameters(), strict=True):
            t.data.copy_(TAU * p.data + (1 - TAU) * t.data)


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
