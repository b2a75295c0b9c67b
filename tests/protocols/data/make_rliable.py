"""Makes ``rliable.json`` anew: in an environment of its own, ``pip install rliable==1.2.0 "pandas<3"``, then run this file. Two minutes."""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rliable import library, metrics

REPS, PAIR_REPS = 20000, 5000
TAUS = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0]
POINTS = {
    "mean": metrics.aggregate_mean,
    "median": metrics.aggregate_median,
    "iqm": metrics.aggregate_iqm,
    "optimality_gap": metrics.aggregate_optimality_gap,
    "optimality_gap_half": lambda scores: metrics.aggregate_optimality_gap(scores, gamma=0.5),
}


def matrices() -> dict[str, np.ndarray]:
    """Tasks of unequal difficulty, so that strata matter; in ``correlated`` good seeds are good at all tasks, so that joint draws show."""
    g, S, K = np.random.default_rng(20240), 5, 8
    base = np.linspace(0.05, 0.95, K)
    correlated = np.clip(np.round(base + 0.12 * g.standard_normal((S, 1)) + 0.08 * g.standard_normal((S, K)), 2), 0, 1)
    twentieths = np.round(np.clip(base[::-1] * 0.9 + 0.1 * g.standard_normal((7, K)), 0, 1) * 20) / 20
    binary = (g.random((10, 3)) < np.array([0.2, 0.5, 0.9])).astype(float)
    rival = np.round(np.clip(base * 0.8 + 0.15 * g.standard_normal((S, K)), 0, 1) * 20) / 20
    return {"correlated": correlated, "twentieths": twentieths, "binary": binary, "rival": rival}


def of_matrix(scores: np.ndarray) -> dict:
    np.random.seed(0)  # noqa: NPY002 - rliable draws from the global generator
    point, interval = library.get_interval_estimates({"x": scores}, lambda x: np.array([f(x) for f in POINTS.values()]), reps=REPS)
    entry = {
        "scores": scores.tolist(),
        "point": dict(zip(POINTS, point["x"].tolist(), strict=True)),
        "interval": {name: interval["x"][:, i].tolist() for i, name in enumerate(POINTS)},
    }
    for key, of_runs in (("profile", True), ("average_profile", False)):
        np.random.seed(0)  # noqa: NPY002
        point, interval = library.create_performance_profile({"x": scores}, TAUS, use_score_distribution=of_runs, reps=REPS)
        entry[key] = {"point": point["x"].tolist(), "interval": interval["x"].tolist()}
    return entry


def of_pair(first: str, second: str, made: dict[str, np.ndarray]) -> dict:
    np.random.seed(0)  # noqa: NPY002
    point, interval = library.get_interval_estimates(
        {"xy": [made[first], made[second]]}, lambda x, y: np.array([metrics.probability_of_improvement(x, y)]), reps=PAIR_REPS
    )
    return {"x": first, "y": second, "point": float(point["xy"][0]), "interval": interval["xy"][:, 0].tolist()}


if __name__ == "__main__":
    made = matrices()
    out = {
        "made_by": {name: version(name) for name in ("rliable", "arch", "scipy", "numpy")} | {"reps": REPS, "pair_reps": PAIR_REPS},
        "how": "make_rliable.py beside this file; 95 % percentile intervals of rliable's stratified bootstrap",
        "taus": TAUS,
        "matrices": {name: of_matrix(scores) for name, scores in made.items()},
        "pairs": [of_pair(x, y, made) for x, y in (("correlated", "twentieths"), ("correlated", "rival"), ("rival", "twentieths"))],
    }
    Path(__file__).with_name("rliable.json").write_text(json.dumps(out) + "\n")
