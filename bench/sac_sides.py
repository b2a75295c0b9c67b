"""One side of ``bench/sac_update.py``, in a process of its own: warms up, then measures a slice of time for every line it is sent.
``serve`` does so for the sides of any bench.

Answers are lines of JSON on the standard output; whatever libraries print goes to the standard error.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
from _machine import busy_s

OBS, ACTION, EPISODE = 39, 4, 500
"""Meta-World"""
CASES: dict[str, tuple[tuple[int, ...], int]] = {"a1": ((256, 256), 256), "a2": ((400, 400, 400), 128)}
"""hidden layers, batch size"""
PER_CALL = 16
"""updates of the modes that make several per call"""


class Mode(NamedTuple):
    call: Callable[[], object]
    updates: int
    """per call"""
    least: int = 2
    """calls in a slice of time, whatever they take"""


class Data(NamedTuple):
    """E episodes of 500 steps, the same for all sides."""

    obs: np.ndarray
    """(E, 501, 39)"""
    action: np.ndarray
    """(E, 500, 4) in [-1, 1]"""
    reward: np.ndarray
    """(E, 500) in [0, 1]"""


def make_data(rows: int, tasks: int = 1) -> Data:
    """Episode i is one of task i % tasks."""
    rng, E = np.random.default_rng(0), tasks * max(1, rows // EPISODE // tasks)
    obs = rng.standard_normal((E, EPISODE + 1, OBS), np.float32)
    action = rng.uniform(-1, 1, (E, EPISODE, ACTION)).astype(np.float32)
    return Data(obs, action, rng.random((E, EPISODE), np.float32))


class Ours:
    """The learner of a run, drawing from a full ring in shared memory."""

    packages = ("torch", "numpy")

    def __init__(self, hidden: tuple[int, ...], batch: int, data: Data, threads: int) -> None:
        from algos.sac import Config, make
        from core.types import Field, TaskSpec
        from replay.sampler import Sampler

        spec = TaskSpec("bench", (Field("obs", (OBS,)),), ACTION, EPISODE)
        algorithm = make(Config(hidden=hidden, batch_size=batch), spec, 1)
        self.ring = filled_ring(spec, data)
        source = Switchable(Sampler(self.ring, [0], algorithm.plan, seed=0))
        worker, compiled_s = learner(algorithm, [source], threads)

        def update_only() -> None:
            source.still = True
            worker.update(PER_CALL)
            source.still = False

        self.modes = {
            "update(1)": Mode(lambda: worker.update(1), 1),
            f"update({PER_CALL})": Mode(lambda: worker.update(PER_CALL), PER_CALL),
            f"update({PER_CALL}), one batch again and again (no sampling)": Mode(update_only, PER_CALL),
        }
        self.note = f"{worker.describe()}; compiled in {compiled_s:.1f} s, without a cache"


def learner(algorithm: Any, sources: list[Any], threads: int, **config: Any) -> tuple[Any, float]:
    """The learner of a run with one seed for every source, and the seconds that compiling it took."""
    from core.seeding import SeedTree
    from learner.settings import Config
    from learner.worker import LearnerWorker

    settings = Config(threads=threads, eager_first=0, **config)
    worker = LearnerWorker(algorithm, sources, [SeedTree(seed) for seed in range(len(sources))], settings)
    began = time.perf_counter()
    worker.compile()
    worker.wait_compiled()
    return worker, time.perf_counter() - began


class Switchable:
    """The sampler, with a switch that lets the last batch be used again."""

    def __init__(self, sampler: Any) -> None:
        self.sampler, self.still = sampler, False

    def sample(self) -> None:
        if not self.still:
            self.sampler.sample()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sampler, name)


def filled_ring(spec: Any, data: Data, tasks: int = 1, name: str = "all") -> Any:
    from core.rows import CLOSING, row_dtype
    from core.types import Chunk
    from replay.ring import Ring

    E, dtype = len(data.obs), row_dtype(spec)
    run = f"bench-sac-{os.getpid()}-{name}"
    ring = Ring.create(run, dtype, tasks=tasks, capacity=E // tasks * (EPISODE + 1), writers=1, window=2)
    ring.unlink()
    for i in range(E):
        rows = np.zeros(EPISODE + 1, dtype)
        rows["obs"], rows["action"][:-1], rows["reward"][:-1] = data.obs[i], data.action[i], data.reward[i]
        rows["episode"], rows["t"], rows["kind"][-1], rows["truncated"][-2] = i, np.arange(EPISODE + 1), CLOSING, True
        ring.insert(Chunk(0, 0, i, i % tasks, rows))
    return ring


def spaces() -> tuple[Any, Any]:
    from gymnasium.spaces import Box

    return Box(-np.inf, np.inf, (OBS,), np.float32), Box(-1, 1, (ACTION,), np.float32)


def blank_env() -> Any:
    """Only its spaces matter."""
    import gymnasium

    env = gymnasium.Env()
    env.observation_space, env.action_space = spaces()
    return env


def fill(buffer: Any, data: Data) -> None:
    """A Stable-Baselines3 ReplayBuffer of exactly these transitions; as in Meta-World none is terminal."""
    n = data.reward.size
    assert buffer.buffer_size == n
    buffer.observations[:, 0], buffer.next_observations[:, 0] = data.obs[:, :-1].reshape(n, OBS), data.obs[:, 1:].reshape(n, OBS)
    buffer.actions[:, 0], buffer.rewards[:, 0] = data.action.reshape(n, ACTION), data.reward.reshape(n)
    buffer.full = True


class Sb3:
    """Stable-Baselines3's SAC, its defaults."""

    packages = ("stable-baselines3", "torch", "numpy")

    def __init__(self, hidden: tuple[int, ...], batch: int, data: Data, threads: int, precision: str = "") -> None:
        import torch
        from stable_baselines3 import SAC
        from stable_baselines3.common.logger import configure

        if precision:
            torch.set_float32_matmul_precision(precision)
        sizes = {"batch_size": batch, "buffer_size": data.reward.size, "policy_kwargs": {"net_arch": list(hidden)}}
        model = SAC("MlpPolicy", blank_env(), device="cpu", seed=0, **sizes)
        model.set_logger(configure(None, []))
        torch.set_num_threads(threads)
        fill(model.replay_buffer, data)
        self.modes = {"train(1)": Mode(lambda: model.train(1, batch), 1)}
        self.note = f"torch.get_float32_matmul_precision() = {torch.get_float32_matmul_precision()}"


class Sb3Medium(Sb3):
    """The same with one line more."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args, precision="medium")


class Cleanrl:
    """See ``sac_cleanrl``."""

    packages = ("torch", "stable-baselines3", "numpy")

    def __init__(self, hidden: tuple[int, ...], batch: int, data: Data, threads: int) -> None:
        import torch
        from sac_cleanrl import CleanrlStyle
        from stable_baselines3.common.buffers import ReplayBuffer

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        buffer = ReplayBuffer(data.reward.size, *spaces(), device="cpu", handle_timeout_termination=False)
        fill(buffer, data)
        learner = CleanrlStyle(OBS, ACTION, hidden, batch, buffer)
        self.modes = {"one update": Mode(learner.update, 1)}
        self.note = "re-written in CleanRL's idiom, not CleanRL's code"


class Sbx:
    """SBX's SAC (JAX), its defaults. Its ``train`` waits for the result before it returns."""

    packages = ("sbx-rl", "jax", "jaxlib", "flax", "optax", "numpy")

    def __init__(self, hidden: tuple[int, ...], batch: int, data: Data, threads: int) -> None:
        import jax
        import torch
        from sbx import SAC
        from stable_baselines3.common.logger import configure

        torch.set_num_threads(threads)
        sizes = {"batch_size": batch, "buffer_size": data.reward.size, "policy_kwargs": {"net_arch": list(hidden)}}
        model = SAC("MlpPolicy", blank_env(), seed=0, **sizes)
        model.set_logger(configure(None, []))
        fill(model.replay_buffer, data)
        self.modes = {
            "train(1)": Mode(lambda: model.train(1, batch), 1),
            f"train({PER_CALL})": Mode(lambda: model.train(PER_CALL, batch), PER_CALL),
        }
        self.note = f"{jax.devices()}"


SIDES: dict[str, type] = {"manyhands": Ours, "SB3": Sb3, "SB3 medium": Sb3Medium, "CleanRL-style (re-written)": Cleanrl, "SBX": Sbx}


def measure(mode: Mode, slice_s: float) -> dict[str, float]:
    """Milliseconds per update over a slice; CPU seconds per second of this process and of all others on the machine."""
    clock, calls = time.perf_counter, 0
    busy, cpu, start = busy_s(), time.process_time(), clock()
    while (now := clock()) < start + slice_s or calls < mode.least:
        mode.call()
        calls += 1
    seconds, own = now - start, time.process_time() - cpu
    others = max(0.0, busy_s() - busy - own)
    return {"ms": 1e3 * seconds / (calls * mode.updates), "cpu": own / seconds, "others": others / seconds}


def warm(made: Any) -> dict[str, Any]:
    """Warms a side up; what it has to say of itself."""
    began, first = time.perf_counter(), {}
    for name, mode in made.modes.items():
        start = time.perf_counter()
        mode.call()
        first[name] = time.perf_counter() - start
        if mode.least > 1:  # else one takes long
            measure(mode, 0.2)
    return {
        "modes": list(made.modes),
        "note": made.note,
        "versions": {name: version(name) for name in made.packages},
        "warm_s": time.perf_counter() - began,
        "first_call_s": first,
    }


def serve(make: Callable[[str, str, int, int], Any], doc: str | None) -> None:
    """Answers requests until the input ends. ``make(side, case, threads, rows)`` has ``modes``, ``note`` and ``packages``."""
    parser = argparse.ArgumentParser(description=doc)
    for name in ("side", "case"):
        parser.add_argument(name)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--rows", type=int, required=True)
    args = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    made = make(args.side, args.case, args.threads, args.rows)
    answers.write(json.dumps(warm(made) | getattr(made, "about", {})) + "\n")
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(measure(made.modes[request["mode"]], request["slice_s"])) + "\n")


def make(side: str, case: str, threads: int, rows: int) -> Any:
    hidden, batch = CASES[case]
    return SIDES[side](hidden, batch, make_data(rows), threads)


if __name__ == "__main__":
    serve(make, __doc__)
