"""One process of ``bench/seeds.py`` on a CPU: S seeds of a small single-task learner (see ``sac_sides.serve``)."""

from typing import Any

from sac_sides import ACTION, EPISODE, OBS, Mode, filled_ring, learner, make_data, serve

HIDDEN, BATCH = (256, 256), 256
LEARNER, IN_TURN = "one learner of S", "S learners in turn"
UPDATE = "update(1)"


class Seeds:
    """``update(1)`` of S seeds, each of which draws from a ring of its own."""

    packages = ("torch", "numpy")

    def __init__(self, kind: str, S: int, threads: int, rows: int) -> None:
        from algos.sac import Config, make
        from core.types import Field, TaskSpec
        from replay.sampler import Sampler

        spec = TaskSpec("bench", (Field("obs", (OBS,)),), ACTION, EPISODE)
        algorithm, data = make(Config(hidden=HIDDEN, batch_size=BATCH), spec, 1), make_data(rows)
        self.rings = []
        for seed in range(S):
            self.rings.append(filled_ring(spec, data, name=f"seed{seed}"))
        sources = [Sampler(ring, [0], algorithm.plan, seed=seed) for seed, ring in enumerate(self.rings)]
        groups = [sources] if kind == LEARNER else [[source] for source in sources]
        made = [learner(algorithm, group, threads) for group in groups]
        workers = [worker for worker, _ in made]
        self.modes = {UPDATE: Mode(lambda: [worker.update(1) for worker in workers], S)}
        self.note = f"{workers[0].describe()}; compiled in {sum(seconds for _, seconds in made):.1f} s"


def make(side: str, case: str, threads: int, rows: int) -> Any:
    """``side``: a kind and the number of seeds, as in ``one learner of S=4``."""
    kind, S = side.rsplit("=", 1)
    return Seeds(kind, int(S), threads, rows)


if __name__ == "__main__":
    serve(make, __doc__)
