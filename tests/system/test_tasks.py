"""Several tasks in one run: as much data of each, evaluations judged together."""

import numpy as np

from protocols.evaluator import Evaluation
from replay.ingest import ring_file
from replay.ring import Ring
from tests.system.tiny import evaluations, opened, run_through, saved, tiny


def test_two_tasks_share_a_run(tmp_path):
    config = tiny(tasks=("dummy:point", "dummy:point"), total_steps=400, actors={"actors": 4})
    seen = {}

    def look(run):
        ring = Ring.attach(ring_file(run.id))
        seen["live"] = ring.state().live.tolist()
        seen["writers"] = [set(ring.rows[k]["writer"][ring.steps(k)].tolist()) for k in range(2)]
        ring.close()

    folder = run_through(config, tmp_path, (400, look))
    assert seen["writers"] == [{0, 2}, {1, 3}]
    assert seen["live"][0] == seen["live"][1] > 100
    parts = saved(folder).components
    assert parts["learner"]["tensors"]["params.log_alpha.log_alpha"].shape == (1, 2)
    assert parts["driver"]["best"]["episodes"] == 4
    assert len(evaluations(folder)) == 1


def evaluation(task: str, version: int, success: float) -> Evaluation:
    flags = np.arange(10) < 10 * success
    return Evaluation(task, version, flags, flags, np.zeros(10), np.full(10, -1), 0)


def test_evaluations_of_different_versions_are_never_mixed(tmp_path):
    """One task's evaluation of version 1 was lost; and a run is as good as its worst task."""
    with opened(tiny(tasks=("dummy:point", "dummy:point")), tmp_path) as run:
        run.fleet.evaluated = run.fleet.weights
        for one in (evaluation("a", 1, 1.0), evaluation("a", 2, 0.9), evaluation("b", 2, 0.3)):
            run._evaluated(one)
        (row,) = evaluations(run.folder)
        assert (row["eval/version"], row["eval/success_any"]) == (2, 0.3)
