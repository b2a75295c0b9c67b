"""Learner side: how updates run, whatever the algorithm."""

import re
from dataclasses import dataclass

from core.errors import ConfigError
from learner import graph, precision


@dataclass(frozen=True)
class Config:
    """How updates run."""

    device: str = "auto"
    """auto (CUDA where there is a GPU) | cpu | cuda | cuda:N"""
    threads: int = 0
    """CPU threads of the update; 0: all cores but one, which simulators need: threads that wait for one another must not wait for a core"""
    compile: str = "auto"
    """auto (one compiled graph where a C++ compiler is installed, for CUDA also Triton) | compile | eager"""
    eager_first: int = 500
    """updates at the start of a run that the eager twin does while the graph is compiled; a number, not a time, so that runs repeat"""
    matmul: str = "auto"
    """on the CPU: auto (measured at start) | default | onednn"""
    tf32: bool = True
    """on CUDA: float32 matrix products with TF32's 10 bits of mantissa"""
    cuda_graph: str = "auto"
    """auto (on CUDA; where capturing fails, without, and a warning) | on | off"""
    updates_per_launch: int = 8
    """on CUDA: updates that one graph makes; what is left over goes one by one"""
    metrics_every: int = 100
    """on CUDA: updates between two looks at the losses, each of which waits for the GPU; the CPU tells them after every call"""
    ranks: int = 1
    """processes that share every batch, on CUDA a GPU for each; algo.batch_size must be a multiple"""
    memory_fraction: float = 1.0
    """on CUDA: the share of the GPU's memory that this learner may take"""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ConfigError(f"learner.device is {self.device!r}; allowed: auto, cpu, cuda, cuda:N")
        if self.threads < 0:
            raise ConfigError(f"learner.threads is {self.threads}; it must be 0 (all cores but one) or more")
        if self.eager_first < 0:
            raise ConfigError(f"learner.eager_first is {self.eager_first}; it must be 0 or more")
        for name, allowed in (("matmul", ("auto", *precision.CPU_PATHS)), ("cuda_graph", graph.MODES)):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"learner.{name} is {getattr(self, name)!r}; allowed: {', '.join(allowed)}")
        for name in ("updates_per_launch", "metrics_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"learner.{name} is {getattr(self, name)}; it must be 1 or more")
        if not 0 < self.memory_fraction <= 1:
            raise ConfigError(f"learner.memory_fraction is {self.memory_fraction}; it must be in (0, 1]")
