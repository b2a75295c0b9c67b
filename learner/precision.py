"""Learner side: which float32 matrix multiplication is used. On a CPU that is measured at start and never assumed.

Torch's default float32 GEMM can leave half of a CPU idle; its oneDNN path is opened by *permitting* reduced precision internally,
which some CPUs (with AMX) then really use. So the path is taken only where it is measured to be both faster and still float32-accurate.
"""

import time
from typing import NamedTuple

import torch

MAX_RELATIVE_ERROR = 5e-6
"""float32 accumulations of these sizes err by 2e-7 to 5e-7; real bfloat16 by 3e-3."""
MIN_SPEEDUP = 1.1
CPU_PATHS, CUDA_PATHS = ("default", "onednn"), ("ieee", "tf32")


class Precision(NamedTuple):
    """The recorded choice."""

    path: str
    """CPU: ``default`` or ``onednn``; CUDA: ``ieee`` or ``tf32``"""
    speedup: float = 1.0
    """CPU: seconds of the default path / seconds of the oneDNN path"""
    error: float = 0.0
    """CPU: relative error of the oneDNN path against float64"""

    def describe(self) -> str:
        if self.path in CUDA_PATHS:
            return "TF32 matmul" if self.path == "tf32" else "float32 matmul"
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


def set_cuda_path(path: str) -> Precision:
    """TF32 or not for CUDA. By the older of torch's two switches: the compiler's guards read that one, and it refuses what only the newer
    one was told."""
    torch.backends.cuda.matmul.allow_tf32 = path == "tf32"
    return Precision(path)


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


def begin(device: torch.device, matmul: str, tf32: bool) -> Precision:
    """The choice for a device, made and set."""
    if device.type == "cuda":
        return set_cuda_path("tf32" if tf32 else "ieee")
    measured = probe()
    if matmul != "auto":
        measured = measured._replace(path=matmul)
        set_path(matmul)
    return measured


def keep(precision: Precision, path: str) -> Precision:
    """Goes on with the path that a run began with, so that it goes on bit by bit; unless that is not accurate, or not there, here."""
    if precision.path in CUDA_PATHS:
        return set_cuda_path(path) if path in CUDA_PATHS else precision
    if path == "default" or (path == "onednn" and precision.error <= MAX_RELATIVE_ERROR):
        set_path(path)
        return precision._replace(path=path)
    return precision
