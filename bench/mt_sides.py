"""One side of ``bench/mt_update.py``, in a process of its own (see ``sac_sides.serve``). It also runs under a newer Python, so that all
that differs between the environments is imported where it is used.

Every side says what one update of it is (``work``): parameters, gradient steps and floating-point operations, counted and not assumed.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from sac_sides import ACTION, EPISODE, OBS, Data, Mode, Switchable, filled_ring, learner, make_data, serve

HIDDEN, BATCH, MAX_GRAD_NORM, ADAM_EPS = (400, 400, 400), 128, 1.0, 1e-5
"""of Meta-World's multi-task SAC; transitions per task; global norm of the policy's gradient and of both critics' together; what
metaworld-algorithms has"""
TASKS = {"MT10": 10, "MT50": 50}
DRAWN, READY = "drawn from its replay", "a ready batch (no sampling)"
"""Modes. Every call is one update."""
GIGA = 1e9


def one_hot(task: np.ndarray, tasks: int) -> np.ndarray:
    return np.eye(tasks, dtype=np.float32)[task]


class Ours:
    """The learner of a run, drawing from a full ring in shared memory."""

    packages = ("torch", "numpy")

    def __init__(self, tasks: int, data: Data, threads: int) -> None:
        from algos.sac import Config, make
        from core.types import Field, TaskSpec
        from replay.sampler import Sampler

        spec = TaskSpec("bench", (Field("obs", (OBS,)),), ACTION, EPISODE)
        config = Config(hidden=HIDDEN, batch_size=BATCH, multi_head=True, max_grad_norm=MAX_GRAD_NORM, adam_eps=ADAM_EPS)
        algorithm = make(config, spec, tasks)
        self.ring = filled_ring(spec, data, tasks)
        source = Switchable(Sampler(self.ring, range(tasks), algorithm.plan, seed=0))
        worker, compiled_s = learner(algorithm, [source], threads)
        self.modes = {DRAWN: Mode(lambda: worker.update(1), 1), READY: Mode(lambda: self.ready(worker, source), 1)}
        self.note = f"{worker.describe()}; compiled in {compiled_s:.1f} s, without a cache"
        self.about = {"work": self.work(worker, tasks)}

    @staticmethod
    def ready(worker: Any, source: Switchable) -> None:
        source.still = True
        worker.update(1)
        source.still = False

    @staticmethod
    def work(worker: Any, tasks: int) -> dict[str, Any]:
        """Operations are those of the eager twin: the graph does the same."""
        noise, params = worker.algorithm.noise(worker.state, worker.stack.generators), worker.state.params
        before, sizes = (
            clones(worker.state),
            {name: sum(p[0].numel() for p in getattr(params, name).values()) for name in ("policy", "critic")},
        )
        flops = torch_gflop(lambda: worker.step.eager(worker.state, worker.stack.feed.buffers[0], noise))
        after = clones(worker.state)
        moved = {name: all(bool((a != b).any()) for a, b in zip(before[name], after[name], strict=True)) for name in before}
        steps = int(after["updates"][0] - before["updates"][0])
        return work(
            sizes["policy"], sizes["critic"], tasks, {name: steps * changed for name, changed in moved.items() if name != "updates"}, flops
        )


def clones(state: Any) -> dict[str, list]:
    trees = {"policy": state.params.policy, "critic": state.params.critic, "temperature": state.params.log_alpha, "target": state.target}
    return {name: [leaf.clone() for leaf in tree.values()] for name, tree in trees.items()} | {"updates": [state.updates.clone()]}


def work(policy: int, critic: int, temperatures: int, steps: dict[str, int], gflop: float) -> dict[str, Any]:
    """What one update is."""
    return {
        "policy_parameters": policy,
        "critic_parameters": critic,
        "temperatures": temperatures,
        "steps": {name: int(count) for name, count in steps.items()},
        "gflop": gflop,
    }


def torch_gflop(update: Callable[[], object]) -> float:
    """Matrix multiplications only: torch counts nothing else."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        update()
    return counter.get_total_flops() / GIGA


class Plain:
    """See ``mt_torch``."""

    packages = ("torch", "numpy")

    def __init__(self, tasks: int, data: Data, threads: int, precision: str = "") -> None:
        import torch
        from mt_torch import MultiHeadSac

        if precision:
            torch.set_float32_matmul_precision(precision)
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        sac, batch = MultiHeadSac(OBS, ACTION, HIDDEN, tasks), self.batch(data, tasks)
        self.modes = {READY: Mode(lambda: sac.update(batch), 1)}
        self.note = f"written by us as a stand-in; torch.get_float32_matmul_precision() = {torch.get_float32_matmul_precision()}"
        flops, before = torch_gflop(lambda: sac.update(batch)), [p.clone() for p in sac.target_parameters]
        sac.update(batch)
        optimizers = {"policy": sac.policy_optimizer, "critic": sac.q_optimizer, "temperature": sac.alpha_optimizer}
        steps = {name: int(next(iter(o.state.values()))["step"]) // 2 for name, o in optimizers.items()}
        steps["target"] = int(all(bool((a != b).any()) for a, b in zip(before, sac.target_parameters, strict=True)))
        sizes = (sum(p.numel() for p in ps) for ps in (sac.policy_parameters, sac.q_parameters))
        self.about = {"work": work(*sizes, len(sac.log_alpha), steps, flops)}

    @staticmethod
    def batch(data: Data, tasks: int) -> Any:
        """Task-major, as a multi-task replay of torch hands it out."""
        import torch
        from mt_torch import Ready

        rng, task = np.random.default_rng(0), np.repeat(np.arange(tasks), BATCH)
        e = task + tasks * rng.integers(len(data.obs) // tasks, size=len(task))
        t, hot = rng.integers(EPISODE, size=len(task)), one_hot(task, tasks)
        obs, after = np.hstack([data.obs[e, t], hot]), np.hstack([data.obs[e, t + 1], hot])
        return Ready(*map(torch.from_numpy, (obs, data.action[e, t], data.reward[e, t], after, task)))


class PlainMedium(Plain):
    """The same with one line more."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args, precision="medium")


class MetaworldAlgorithms:
    """rainx0r/metaworld-algorithms: its MTSAC with multi-head networks, configured as in its ``examples/multi_task/mtmhsac_mt10.py``."""

    packages = ("metaworld-algorithms", "jax", "jaxlib", "flax", "optax", "distrax", "numpy")

    def __init__(self, tasks: int, data: Data, threads: int) -> None:
        import jax
        from gymnasium.spaces import Box
        from metaworld_algorithms.config.networks import ContinuousActionPolicyConfig, QValueFunctionConfig
        from metaworld_algorithms.config.nn import MultiHeadConfig
        from metaworld_algorithms.config.optim import OptimizerConfig
        from metaworld_algorithms.rl.algorithms import MTSAC, MTSACConfig

        network = MultiHeadConfig(num_tasks=tasks, optimizer=OptimizerConfig(max_grad_norm=MAX_GRAD_NORM))
        assert (network.width,) * network.depth == HIDDEN
        settings = {"gamma": 0.99, "num_critics": 2}
        config = MTSACConfig(
            num_tasks=tasks, actor_config=ContinuousActionPolicyConfig(network), critic_config=QValueFunctionConfig(network), **settings
        )
        # Nothing but the spaces of its environment is asked for.
        world = SimpleNamespace(
            observation_space=Box(-np.inf, np.inf, (OBS + tasks,), np.float32), action_space=Box(-1, 1, (ACTION,), np.float32)
        )
        self.jax, self.agent = jax, MTSAC.initialize(config, world)
        buffer = filled_buffer(data, tasks, world)
        batch = buffer.sample(tasks * BATCH)
        draw = lambda: self.update(buffer.sample(tasks * BATCH))  # noqa: E731
        self.modes = {DRAWN: Mode(draw, 1), READY: Mode(lambda: self.update(batch), 1)}
        self.note = f"its own code, unmodified; {jax.devices()}; it waits for the result of every update, as its training loop does"
        self.about = {"work": self.work(batch, tasks)}

    def update(self, batch: Any) -> None:
        self.agent, _ = self.agent.update(batch)
        self.jax.block_until_ready(self.agent)

    def work(self, batch: Any, tasks: int) -> dict[str, Any]:
        """The operations that XLA counts before it optimises: elementwise ones, too."""
        before, flops = self.agent, type(self.agent)._update_inner.lower(self.agent, batch).cost_analysis()["flops"] / GIGA
        self.update(batch)
        trained = {"policy": "actor", "critic": "critic", "temperature": "alpha"}
        steps = {name: int(getattr(self.agent, field).step) - int(getattr(before, field).step) for name, field in trained.items()}
        leaves = [self.jax.tree.leaves(agent.critic.target_params) for agent in (before, self.agent)]
        steps["target"] = int(all((a != b).any() for a, b in zip(*leaves, strict=True)))
        sizes = self.agent.get_num_params()
        return work(sizes["actor_num_params"], sizes["critic_num_params"], tasks, steps, flops)


def filled_buffer(data: Data, tasks: int, world: Any) -> Any:
    """Its own replay buffer, full of exactly these transitions; as in Meta-World none is terminal."""
    from metaworld_algorithms.rl.buffers import MultiTaskReplayBuffer

    n = data.reward.size // tasks
    buffer = MultiTaskReplayBuffer(n * tasks, tasks, world.observation_space, world.action_space, seed=0)
    for k in range(tasks):
        mine = slice(k, None, tasks)
        buffer.obs[:, k, :OBS], buffer.next_obs[:, k, :OBS] = data.obs[mine, :-1].reshape(n, OBS), data.obs[mine, 1:].reshape(n, OBS)
        buffer.obs[:, k, OBS + k] = buffer.next_obs[:, k, OBS + k] = 1.0
        buffer.actions[:, k], buffer.rewards[:, k, 0] = data.action[mine].reshape(n, ACTION), data.reward[mine].reshape(n)
    buffer.full = True
    return buffer


SIDES: dict[str, type] = {
    "manyhands": Ours,
    "metaworld-algorithms": MetaworldAlgorithms,
    "plain torch (stand-in)": Plain,
    "plain torch medium (stand-in)": PlainMedium,
}


def make(side: str, case: str, threads: int, rows: int) -> Any:
    return SIDES[side](TASKS[case], make_data(rows, TASKS[case]), threads)


if __name__ == "__main__":
    serve(make, __doc__)
