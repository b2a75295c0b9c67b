"""The task encoder of PEARL-C2F-ARM where one acts: what a few transitions, each an image, an action and a reward, say of a task.

What it is, and whence, says ``algos.lib.image_context``, which has the same network in torch. What N simulators remember of a trial is the
same on both sides.

Shapes: N simulators, B samples, C transitions of a context, R newest that are remembered, Z latent, A action.
"""

from __future__ import annotations

from math import erfc, sqrt
from typing import TYPE_CHECKING, Any, Callable, Mapping, NamedTuple, Protocol, Tuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Encode = Callable[[NDArray, NDArray, NDArray], Tuple[NDArray, NDArray]]
    """(rgb (B, H, W, 3) uint8, action (B, A), reward (B,)) -> mean and variance (B, Z)"""

SLOPE = 0.02
"""of leaky ReLUs"""
STRIDE, EXTENT = 2, 3
"""of both convolutions"""
VARIANCE_FLOOR = 1e-7
"""least variance that one transition's Gaussian has"""


class Sizes(Protocol):
    """What is told of the memory; ``algos.lib.image_context.Config`` has it, too."""

    @property
    def latent(self) -> int: ...

    @property
    def context(self) -> int: ...

    @property
    def recent(self) -> int: ...


class Config(NamedTuple):
    """What acting needs of ``algos.lib.image_context.Config``."""

    latent: int
    """Z; 0: nothing is inferred"""
    context: int
    """C"""
    recent: int
    """R"""
    output: str
    """linear or leaky: what follows the last layer of the encoder"""
    reward_scale: float


def encode(
    params: Mapping[str, NDArray], rgb: NDArray[np.uint8], action: NDArray, reward: NDArray, config: Config
) -> tuple[NDArray, NDArray]:
    """Mean and variance (B, Z) of each transition's Gaussian; see ``Encode``."""
    x = rgb.astype(action.dtype) / action.dtype.type(127.5) - 1
    for name in ("image0", "image1"):
        x = _bent(_strided(x, params[f"{name}.w"], params[f"{name}.b"]))
    told = [np.moveaxis(x, -1, 1).reshape(len(x), -1), action, (config.reward_scale * reward[:, None]).astype(action.dtype)]
    x = _bent(np.concatenate(told, 1) @ params["dense0.w"].T + params["dense0.b"])
    out = x @ params["dense1.w"].T + params["dense1.b"]
    mean, raw = np.split(_bent(out) if config.output == "leaky" else out, 2, -1)
    return mean, np.maximum(np.logaddexp(raw, 0).astype(out.dtype), out.dtype.type(VARIANCE_FLOOR))


def _bent(x: NDArray) -> NDArray:
    return np.maximum(x, x * x.dtype.type(SLOPE))


def _strided(x: NDArray, weight: NDArray, bias: NDArray) -> NDArray:
    """A convolution of every other pixel over images (B, H, W, C) whose border goes on beyond it: (B, ceil(H / 2), ceil(W / 2), out)."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    down, right = ((side - 1) // STRIDE * STRIDE + 1 for side in x.shape[1:3])
    places = [(row, column) for row in range(EXTENT) for column in range(EXTENT)]
    patches = [padded[:, row : row + down : STRIDE, column : column + right : STRIDE] for row, column in places]
    return np.concatenate(patches, -1) @ weight.transpose(2, 3, 1, 0).reshape(-1, len(weight)) + bias


def product_of_gaussians(mean: NDArray, variance: NDArray) -> tuple[NDArray, NDArray]:
    """Mean and variance (..., Z) of the normalised product of C > 0 Gaussians (..., C, Z): ``algos.lib.posterior``."""
    precision = 1 / variance
    joint = 1 / precision.sum(-2)
    return joint * (precision * mean).sum(-2), joint


# ---- what N simulators remember of a trial ----------------------------------------------------------------------------------


def memory(N: int, pixels: tuple[int, ...], config: Sizes) -> dict[str, NDArray]:
    """Of simulators that have seen nothing."""
    R, Z = config.recent, config.latent
    nothing = {"mean": np.zeros((N, R, Z), np.float32), "variance": np.ones((N, R, Z), np.float32), "z": np.zeros((N, Z), np.float32)}
    counts = {"count": np.zeros(N, np.int64), "recalled": np.zeros(N, np.int64)}
    return {**nothing, **counts, "rgb": np.zeros((N, *pixels), np.uint8)}


def remembered(
    encode: Encode, before: Mapping[str, NDArray] | None, seen: Mapping[str, Any], rgb: NDArray[np.uint8], config: Sizes
) -> dict[str, NDArray]:
    """With the last transition of each simulator, whose reward is known now; a trial begins with what is ``recalled``, usually nothing.

    Args:
        rgb: (N, H, W, 3) that is seen now.
    """
    if before is None:
        return {**memory(len(rgb), rgb.shape[1:], config), "rgb": rgb.copy()}
    after = {name: part.copy() for name, part in before.items()}
    rows, slot = np.flatnonzero(~seen["trial"]), before["count"] % config.recent
    for name, part in zip(("mean", "variance"), encode(before["rgb"], seen["action"], seen["reward"])):
        after[name][rows, slot[rows]] = part[rows]
    after["count"] = np.where(seen["trial"], before["recalled"], before["count"] + 1)
    return {**after, "recalled": np.zeros_like(before["recalled"]), "rgb": rgb.copy()}


def inferred(
    remembers: Mapping[str, NDArray], seen: Mapping[str, Any], noise: NDArray[np.float32] | None, config: Sizes
) -> NDArray[np.float32]:
    """z (N, Z): drawn where an episode begins from the posterior of C of the newest transitions, else as it was.

    Args:
        noise: (N, Z + C) standard normal; None: the posterior's mean, of the newest.
    """
    Z, C, count = config.latent, config.context, remembers["count"][:, None]
    known = np.maximum(np.minimum(count, config.recent), 1)
    back = np.arange(C)[None] % known if noise is None else (_chance_below(noise[:, Z:]) * known).astype(int)
    slots = ((count - 1 - np.minimum(back, known - 1)) % config.recent)[..., None]
    mean, variance = product_of_gaussians(*(np.take_along_axis(remembers[name], slots, 1) for name in ("mean", "variance")))
    mean, variance = np.where(count > 0, mean, np.float32(0)), np.where(count > 0, variance, np.float32(1))
    z = mean if noise is None else mean + np.sqrt(variance) * noise[:, :Z]
    return np.where(seen["episode"][:, None], z, remembers["z"]).astype(np.float32)


def _chance_below(normal: NDArray[np.float32]) -> NDArray[np.float64]:
    """That a standard normal number is below each of these; numpy has no error function."""
    return np.array([erfc(-number / sqrt(2)) / 2 for number in normal.ravel().tolist()]).reshape(normal.shape)
