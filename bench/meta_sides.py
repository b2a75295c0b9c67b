"""One side of ``bench/meta_update.py``, in a process of its own (see ``sac_sides.serve``). It also runs under a newer Python, so that all
that differs between the environments is imported where it is used.

What is timed begins where advantages are known. Every side counts what one update of it was (``work``).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from meta_data import (
    ACTION,
    ADAM_EPS,
    BACKTRACK,
    CALL_LIMIT_S,
    CASES,
    CHUNK,
    CLIP,
    DAMPING,
    DELTA,
    ENTROPY,
    INNER_LR,
    MAX_GRAD_NORM,
    MINIBATCHES,
    OBS,
    PRODUCTS,
    STEP,
    TRIES,
    Sizes,
    phases,
    weights,
)
from sac_sides import Mode, serve


class Ours:
    """The update of a run but for its advantages and metrics, on the float32 matmul path and with the memory that the learner chooses."""

    packages = ("torch", "numpy")

    def __init__(self, sizes: Sizes, threads: int) -> None:
        import torch

        from learner import precision
        from learner.device import keep_memory

        torch.set_num_threads(threads)
        keep_memory()
        chosen = precision.begin(torch.device("cpu"), "auto", False)
        call, self.count = {"maml": ours_maml, "rl2": ours_rl2, "ppo": ours_ppo}[sizes.method](sizes)
        self.modes = {STEP: Mode(call, 1, least=1)}
        self.note = f"{threads} thread(s), eager, {chosen.describe()}"
        self.about = {"work": self.count(), "call_limit_s": CALL_LIMIT_S}


Made = tuple[Callable[[], object], Callable[[], dict[str, Any]]]
"""one update, and what it counts one to be"""


def spec() -> Any:
    from core.types import Field, TaskSpec

    return TaskSpec("bench", (Field("obs", (OBS,)),), ACTION, 500)


def ours_maml(sizes: Sizes) -> Made:
    """``trust_region_step`` on the objective of ``algos.maml``: gradient, conjugate gradient, line search."""
    import torch

    from algos.lib.trust_region import trust_region_step
    from algos.maml import Config, Episodes, make

    config = Config(
        hidden=sizes.hidden, outer="trpo", inner_lr=INNER_LR, delta=DELTA, cg_iterations=PRODUCTS, damping=DAMPING, backtracks=TRIES
    )
    algorithm = make(config, spec(), sizes.tasks)
    params = algorithm._init_one(0).params
    for i, (weight, bias) in enumerate(weights(sizes)):
        params |= {f"w{i}": torch.from_numpy(weight), f"b{i}": torch.from_numpy(bias)[None]}
    lanes, data, old = {name: leaf.expand(sizes.tasks, *leaf.shape) for name, leaf in params.items()}, [], None
    for phase in phases(sizes):
        obs, advantage = torch.from_numpy(phase.obs), torch.from_numpy(phase.advantage)
        with torch.no_grad():
            old = algorithm.distribution(lanes, obs)
            action = old.out + old.log_std.exp() * torch.from_numpy(phase.noise)
            data.append(Episodes(obs, action, advantage, torch.ones_like(advantage), algorithm.head.log_prob(old, action)))
        lanes = algorithm.adaptation(lanes, data[-1:])
    both = partial(algorithm.both, phases=data, old=old)

    def count() -> dict[str, Any]:
        taken = step()
        with torch.no_grad():
            gain, kl = both(taken.params)
        tries = 1 + round(np.log(taken.share) / np.log(BACKTRACK)) if taken.share else TRIES
        return work(params, 0, PRODUCTS + 1, tries) | {"gain": float(gain), "kl": float(kl)}

    def step() -> Any:
        return trust_region_step(both, params, algorithm.region, algorithm.output(data, old))

    return step, count


def ours_rl2(sizes: Sizes) -> Made:
    """``update_one`` of ``algos.rl2`` but for its advantages: the pass for log-probabilities is part of it."""
    import torch

    from algos.rl2 import Config, Trials, make

    config = Config(
        encoder=sizes.hidden,
        hidden=sizes.hidden[-1],
        chunk=CHUNK,
        minibatches=1,
        epochs=sizes.epochs,
        clip=CLIP,
        entropy=ENTROPY,
        max_grad_norm=MAX_GRAD_NORM,
        adam_eps=ADAM_EPS,
        lr=5e-4,
    )
    algorithm = make(config, spec(), sizes.tasks)
    state = algorithm._init_one(0)
    (phase,) = phases(sizes, OBS + ACTION + 2)
    x, action, advantage = (torch.from_numpy(leaf).transpose(0, 1).contiguous() for leaf in (phase.obs, phase.noise, phase.advantage))
    trials = Trials(x, action, advantage, torch.ones_like(advantage), advantage, torch.zeros_like(advantage))
    algorithm.trials = lambda batch, params: (trials, {})  # these and no round

    def step() -> Any:
        return algorithm.update_one(state, None, 0)[0]

    return step, lambda: work(state.params, int(step().steps - state.steps))


def ours_ppo(sizes: Sizes) -> Made:
    """``descend`` on the loss of ``algos.ppo``, with its shuffles."""
    import torch

    from algos.lib.surrogate import Samples, descend
    from algos.ppo import Config, make

    settings = {"epochs": sizes.epochs, "minibatches": MINIBATCHES, "clip": CLIP, "entropy": ENTROPY, "max_grad_norm": MAX_GRAD_NORM}
    algorithm = make(Config(hidden=sizes.hidden, activation="relu", **settings), spec(), sizes.tasks)
    state = algorithm._init_one(0)
    (phase,) = phases(sizes)
    obs, advantage = torch.from_numpy(phase.obs), torch.from_numpy(phase.advantage)
    at = algorithm.actions(state.policy, obs)
    action = at.out + at.log_std.exp() * torch.from_numpy(phase.noise)
    samples = Samples(obs, action, advantage, algorithm.head.log_prob(at, action), torch.ones_like(advantage))

    def step() -> Any:
        start, generator = (state.policy, state.adam, state.steps), torch.Generator().manual_seed(0)
        loss = lambda policy, part: algorithm.loss(policy, samples, part)  # noqa: E731
        return descend(algorithm.descent, loss, start, samples.valid, generator, bounded=algorithm.head.bounded)

    return step, lambda: work(state.policy, int(step()[2] - state.steps))


def work(params: dict[str, Any], gradient_steps: int, products: int = 0, tries: int = 0) -> dict[str, Any]:
    """What one update is."""
    return {"parameters": sum(leaf.numel() for leaf in params.values()), "steps": gradient_steps, "products": products, "tries": tries}


def make(side: str, case: str, threads: int, rows: int) -> Any:
    """``rows`` is not asked for: the case says how many."""
    if side == "manyhands":
        return Ours(CASES[case], threads)
    from meta_peer import MetaworldAlgorithms

    return MetaworldAlgorithms(CASES[case])


if __name__ == "__main__":
    serve(make, __doc__)
