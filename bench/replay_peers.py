"""The peers of ``bench/replay.py`` behind one face: filled with Meta-World-sized transitions, drawn task by task, fed in chunks."""

import ctypes
import logging
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

Call = Callable[[], object]


def transitions(n: int, obs: int, action: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    observations = rng.standard_normal((n + 1, obs), np.float32)
    return {
        "obs": observations[:-1],
        "next_obs": observations[1:],
        "act": rng.standard_normal((n, action), np.float32),
        "rew": rng.standard_normal((n, 1), np.float32),
        "done": np.zeros((n, 1), np.float32),
    }


class Floor:
    """A C loop with prefetch copies the same windows from the same memory; its indices are given to it."""

    def __init__(self, sampler, count: int, layout) -> None:
        library = Path(tempfile.mkdtemp()) / "gather.so"
        source = Path(__file__).parent / "c_gather.c"
        subprocess.run(["cc", "-O3", "-march=native", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
        self._gather = ctypes.CDLL(str(library)).gather
        self._gather.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
        rng = np.random.default_rng(0)
        task = np.repeat(np.arange(layout.tasks), count // layout.tasks) * layout.stride
        self._indices = [task + rng.integers(layout.capacity - 2, size=count) for _ in range(256)]
        self._turn, self._count, self._row_bytes = 0, count, layout.row_bytes
        self._bytes = 4 * sampler.windows.words
        self._keep = np.empty(count * self._bytes, np.uint8)
        self._source = sampler.batch.source

    def draw(self) -> None:
        self._turn = (self._turn + 1) % len(self._indices)
        index = self._indices[self._turn]
        into = self._keep.ctypes.data
        self._gather(self._source.data_ptr(), index.ctypes.data, self._count, self._row_bytes, self._bytes, into)


class CpprbBuffer:
    """cpprb.ReplayBuffer, one per task, dictionaries of numpy arrays concatenated."""

    def __init__(self, tasks: int, capacity: int, obs: int, action: int, fill: bool = True) -> None:
        from cpprb import ReplayBuffer

        shapes = {"obs": {"shape": obs}, "act": {"shape": action}, "rew": {}, "next_obs": {"shape": obs}, "done": {}}
        self._buffers = [ReplayBuffer(capacity, shapes) for _ in range(tasks)]
        self._make = lambda n: transitions(n, obs, action)
        for buffer in self._buffers if fill else ():
            buffer.add(**self._make(capacity))

    def sampler(self, batch: int) -> Call:
        if len(self._buffers) == 1:
            return lambda: self._buffers[0].sample(batch)

        def draw():
            parts = [buffer.sample(batch) for buffer in self._buffers]
            return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

        return draw

    def inserter(self, chunk: int) -> Call:
        data = self._make(chunk)
        return lambda: self._buffers[0].add(**data)


class Sb3Buffer:
    """stable_baselines3 ReplayBuffer, one per task, tensors concatenated. It takes single steps only."""

    def __init__(self, tasks: int, capacity: int, obs: int, action: int, fill: bool = True) -> None:
        from gymnasium.spaces import Box
        from stable_baselines3.common.buffers import ReplayBuffer

        spaces = Box(-1, 1, (obs,), np.float32), Box(-1, 1, (action,), np.float32)
        self._buffers = [ReplayBuffer(capacity, *spaces, device="cpu") for _ in range(tasks)]
        self._make = lambda n: transitions(n, obs, action)
        for buffer in self._buffers if fill else ():
            data = self._make(capacity)
            buffer.observations[:, 0], buffer.next_observations[:, 0] = data["obs"], data["next_obs"]
            buffer.actions[:, 0], buffer.rewards[:] = data["act"], data["rew"]
            buffer.full = True

    def sampler(self, batch: int) -> Call:
        if len(self._buffers) == 1:
            return lambda: self._buffers[0].sample(batch)

        def draw():
            parts = [buffer.sample(batch)[:5] for buffer in self._buffers]
            return [torch.cat(column) for column in zip(*parts, strict=True)]

        return draw

    def inserter(self, chunk: int) -> Call:
        data, info = self._make(chunk), [{}]
        rows = [tuple(data[name][i : i + 1] for name in ("obs", "next_obs", "act", "rew", "done")) for i in range(chunk)]
        rows = [(o, n, a, r[0], d[0]) for o, n, a, r, d in rows]
        add = self._buffers[0].add

        def insert():
            for row in rows:
                add(*row, info)

        return insert


class TorchrlBuffer:
    """TorchRL ReplayBuffer over LazyTensorStorage, one per task, tensordicts concatenated."""

    def __init__(self, tasks: int, capacity: int, obs: int, action: int, fill: bool = True) -> None:
        from torchrl.data import LazyTensorStorage, ReplayBuffer

        logging.getLogger("torchrl").setLevel(logging.WARNING)
        self._buffers = [ReplayBuffer(storage=LazyTensorStorage(capacity)) for _ in range(tasks)]
        self._make = lambda n: _tensordict(transitions(n, obs, action))
        for buffer in self._buffers if fill else ():
            buffer.extend(self._make(capacity))

    def sampler(self, batch: int) -> Call:
        if len(self._buffers) == 1:
            return lambda: self._buffers[0].sample(batch)
        return lambda: torch.cat([buffer.sample(batch) for buffer in self._buffers])

    def inserter(self, chunk: int) -> Call:
        data = self._make(chunk)
        return lambda: self._buffers[0].extend(data)


def _tensordict(data: dict[str, np.ndarray]):
    from tensordict import TensorDict

    return TensorDict({name: torch.from_numpy(value.copy()) for name, value in data.items()}, batch_size=len(data["rew"]))


class RllibBuffer:
    """RLlib EpisodeReplayBuffer, one per task. It returns lists of episodes: turning them into arrays is not counted."""

    def __init__(self, tasks: int, capacity: int, obs: int, action: int, fill: bool = True) -> None:
        from ray.rllib.utils.replay_buffers.episode_replay_buffer import EpisodeReplayBuffer  # noqa: TID251

        self._buffers = [EpisodeReplayBuffer(capacity=capacity) for _ in range(tasks)]
        self._sizes = obs, action
        for buffer in self._buffers if fill else ():
            buffer.add([self._episode(500) for _ in range(max(1, capacity // 500))])

    def _episode(self, n: int):
        from ray.rllib.env.single_agent_episode import SingleAgentEpisode  # noqa: TID251

        data = transitions(n, *self._sizes)
        observations = [*data["obs"], data["next_obs"][-1]]
        rewards = data["rew"][:, 0].tolist()
        return SingleAgentEpisode(
            observations=observations, actions=list(data["act"]), rewards=rewards, truncated=True, len_lookback_buffer=0
        )

    def sampler(self, batch: int) -> Call:
        return lambda: [buffer.sample(num_items=batch) for buffer in self._buffers]

    def inserter(self, chunk: int) -> Call:
        """One built episode under ever new names: what an environment runner hands over is already built."""
        made, count = self._episode(chunk), 0

        def insert():
            nonlocal count
            made.id_, count = f"bench{count}", count + 1
            self._buffers[0].add([made])

        return insert
