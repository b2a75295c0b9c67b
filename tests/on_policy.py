"""An on-policy algorithm that does next to nothing, but shows in its numbers which data it was given, and which weights acted them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.types import Field, Round, Rounds, Seen


class State(NamedTuple):
    """Of S seeds."""

    bias: Tensor
    """[S, A] the action, but for noise"""
    updates: Tensor
    """[S]"""


class Drifting:
    """Acts ``bias + 0.1 noise``, and moves the bias by what its actions brought. With phases it moves a little between them."""

    noise_dim = 2

    def __init__(self, plan: Rounds = Rounds(2), columns: bool = True) -> None:  # noqa: B008 - a frozen record
        self.plan, self.columns = plan, columns
        self.rounds: list[Round] = []
        """those that updates were given"""

    def fields(self) -> tuple[Field, ...]:
        return (Field("drawn", (2,)),) if self.columns else ()

    def init(self, seeds: Sequence[int]) -> State:
        drawn = [torch.randn(2, generator=torch.Generator().manual_seed(seed)) / 10 for seed in seeds]
        return State(torch.stack(drawn), torch.zeros(len(seeds)))

    def noise(self, state: State, generators: Sequence[torch.Generator]) -> Tensor:
        return torch.stack([torch.randint(2**31, (), generator=g) for g in generators])

    def inner(self, state: State, batch: Round, phase: int) -> dict[str, Tensor]:
        state.bias.add_(0.001 * (phase + 1))
        return {"phase": torch.full((1,), float(phase))}

    def adapt(self, params: Mapping[str, np.ndarray], batch: Round) -> dict[str, np.ndarray]:
        return {name: value + np.float32(0.001) for name, value in params.items()}

    def update(self, state: State, batch: Round, noise: Any, reduce: Any = None) -> dict[str, Tensor]:
        self.rounds.append(batch)
        gain = (batch.action * (batch.reward * batch.valid)[..., None]).mean((1, 2, 3, 4, 5))
        state.bias.add_(0.01 * gain + 1e-4 * torch.rand(2, generator=torch.Generator().manual_seed(int(noise[0]))))
        state.updates.add_(1)
        return {"bias": state.bias.mean(1)}

    def policy(self, state: State) -> dict[str, Tensor]:
        return {"bias": state.bias}

    def act(self, params: Mapping[str, np.ndarray], carry: Any, seen: Seen, noise: Any) -> Any:
        drawn = np.zeros((len(seen.obs), 2), np.float32) if noise is None else noise
        return params["bias"] + np.float32(0.1) * drawn, carry, {"drawn": drawn} if self.columns else {}
