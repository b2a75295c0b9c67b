"""Learner side: which matrix multiplication this CPU should use, measured at start and never assumed.

Torch's default float32 GEMM can leave half of a CPU idle; its oneDNN path is opened by *permitting* reduced precision internally,
which some CPUs (with AMX) then really use. So the path is taken only where it is measured to be both faster and still float32-accurate.
"""

import time
from typing import NamedTuple

import torch

MAX_RELATIVE_ERROR = 5e-6
"""float32 accumulations of these sizes err by 2e-7 to 5e-7; real bfloat16 by 3e-3."""
MIN_SPEEDUP = 1.1


class Precision(NamedTuple):
    """The recorded choice."""

    path: str
    """``default`` or ``onednn``"""
    speedup: float
    """seconds of the default path / seconds of the oneDNN path"""
    error: float
    """relative error of the oneDNN path against float64"""

    def describe(self) -> str:
        return f"{self.path} float32 matmul (oneDNN path {self.speedup:.2f}x the default's speed, relative error {self.error:.1e})"


def _seconds(x: torch.Tensor, w: torch.Tensor, repeats: int = 15) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        torch.mm(x, w)
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def set_path(path: str) -> None:
    """Opens or closes the oneDNN path for CPU matrix multiplications only; CUDA's setting is left alone."""
    torch.backends.mkldnn.matmul.fp32_precision = "bf16" if path == "onednn" else "ieee"  # type: ignore[attr-defined]


def probe(batch: int = 256, width: int = 256) -> Precision:
    """Measures both paths on (batch, width) x (width, width); about 20 ms."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, width, generator=generator)
    w = torch.randn(width, width, generator=generator)
    exact = x.double() @ w.double()
    set_path("default")
    slow = _seconds(x, w)
    set_path("onednn")
    fast = _seconds(x, w)
    error = float((torch.mm(x, w).double() - exact).norm() / exact.norm())
    good = error <= MAX_RELATIVE_ERROR and slow / fast >= MIN_SPEEDUP
    choice = Precision("onednn" if good else "default", slow / fast, error)
    set_path(choice.path)
    return choice
