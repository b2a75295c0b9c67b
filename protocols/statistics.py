"""Statistics over seeds and tasks: what a claim about a method rests on, computed from the score matrices that ``protocols.rows`` gives.

Seeds are the replication unit and tasks the strata: a bootstrap sample draws seeds anew within every task, each task by itself
(Agarwal et al. 2021, "Deep RL at the edge of the statistical precipice"). Shapes: S seeds, K tasks, R resamples, T thresholds. All
statistics take (..., S, K) and reduce the last two axes, so that one call covers all resamples.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import ConfigError

REPS = 2000
"""resamples of a bootstrap"""


class Estimate(NamedTuple):
    """A statistic and its percentile interval; (), or (T,) for profiles."""

    value: NDArray
    low: NDArray
    high: NDArray


def mean(scores: NDArray) -> NDArray:
    """(..., S, K) -> (...): mean over tasks of the tasks' means."""
    return scores.mean((-2, -1))


def median(scores: NDArray) -> NDArray:
    """(..., S, K) -> (...): median over tasks of the tasks' means."""
    return np.median(scores.mean(-2), axis=-1)


def iqm(scores: NDArray) -> NDArray:
    """(..., S, K) -> (...): interquartile mean over all S x K scores, the lowest and the highest quarter (rounded down) left out."""
    flat = scores.reshape(*scores.shape[:-2], -1)
    cut = flat.shape[-1] // 4
    kept = slice(cut, flat.shape[-1] - cut)
    return np.partition(flat, (kept.start, kept.stop - 1), axis=-1)[..., kept].mean(-1)


def optimality_gap(scores: NDArray, gamma: float = 1.0) -> NDArray:
    """(..., S, K) -> (...): mean amount by which scores fall short of ``gamma``; what exceeds it does not make up for others."""
    return gamma - np.minimum(scores, gamma).mean((-2, -1))


def profile(scores: NDArray, taus: ArrayLike) -> NDArray:
    """(..., S, K) -> (..., T): share of all runs on all tasks that score above tau."""
    size = scores.shape[-2] * scores.shape[-1]
    return np.stack([np.count_nonzero(scores > tau, axis=(-2, -1)) / size for tau in np.asarray(taus)], axis=-1)


def average_profile(scores: NDArray, taus: ArrayLike) -> NDArray:
    """(..., S, K) -> (..., T): share of tasks whose mean over the seeds is above tau."""
    means = scores.mean(-2)
    return np.stack([(means > tau).mean(-1) for tau in np.asarray(taus)], axis=-1)


def probability_of_improvement(x: NDArray, y: NDArray) -> NDArray:
    """(..., S, K), (..., S', K) -> (...): how often a run of X beats one of Y on the same task, ties half; mean over tasks.

    It is the Mann-Whitney statistic over the number of pairs.
    """
    first, second = x[..., :, None, :], y[..., None, :, :]
    pairs = x.shape[-2] * y.shape[-2] * x.shape[-1]
    above, level = (np.count_nonzero(test, axis=(-3, -2, -1)) for test in (first > second, first == second))
    return (above + 0.5 * level) / pairs


def resample(scores: NDArray, reps: int, rng: np.random.Generator) -> NDArray:
    """(S, K) -> (R, S, K): within each task, S seeds drawn with replacement, independently of the other tasks."""
    S, K = scores.shape
    drawn = rng.integers(S, size=(reps, S, K))
    return scores[drawn, np.arange(K)]


def estimate(
    statistic: Callable[..., NDArray], *scores: ArrayLike, rng: np.random.Generator, reps: int = REPS, level: float = 0.95
) -> Estimate:
    """A statistic of one or more score matrices, each (S, K) with its own S, and its interval by stratified bootstrap percentiles.

    Raises:
        ConfigError: a matrix is not (S, K), a score is missing or not finite, the matrices differ in K.
    """
    checked = [_check(matrix) for matrix in scores]
    if len({matrix.shape[1] for matrix in checked}) > 1:
        raise ConfigError(f"score matrices of {[matrix.shape[1] for matrix in checked]} tasks; compare methods on the same tasks")
    if reps < 1 or not 0 < level < 1:
        raise ConfigError(f"bootstrap: reps is {reps} and level {level}. Allowed: at least 1, and between 0 and 1")
    values = statistic(*(resample(matrix, reps, rng) for matrix in checked))
    tail = (1 - level) / 2
    low, high = np.quantile(values, (tail, 1 - tail), axis=0)
    return Estimate(statistic(*checked), low, high)


def aggregates(scores: ArrayLike, rng: np.random.Generator, *, reps: int = REPS, gamma: float = 1.0) -> dict[str, Estimate]:
    """Mean, median, IQM and optimality gap of one method's scores (S, K), with 95 % intervals from the same resamples."""
    names = {"mean": mean, "median": median, "iqm": iqm, "optimality_gap": partial(optimality_gap, gamma=gamma)}

    def together(matrix: NDArray) -> NDArray:
        return np.stack([statistic(matrix) for statistic in names.values()], axis=-1)

    value, low, high = estimate(together, scores, rng=rng, reps=reps)
    return {name: Estimate(value[i], low[i], high[i]) for i, name in enumerate(names)}


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share: the spread of one policy's episodes, which says nothing about other seeds."""
    z, p = 1.96, successes / n
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # Rounding may leave the interval of 0 of n or n of n a hair outside of [0, 1].
    return max(0.0, (centre - half) / (1 + z * z / n)), min(1.0, (centre + half) / (1 + z * z / n))


def _check(scores: ArrayLike) -> NDArray:
    matrix = np.asarray(scores, np.float64)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ConfigError(f"scores of shape {matrix.shape}. Allowed: (seeds, tasks), at least one of each")
    missing = np.argwhere(~np.isfinite(matrix))
    if len(missing):
        shown = ", ".join(f"seed {s} of task {k}" for s, k in missing[:5].tolist()) + (", ..." if len(missing) > 5 else "")
        raise ConfigError(f"{len(missing)} of {matrix.size} scores are missing or not finite: {shown}. Run them, or leave the seed out")
    return matrix
