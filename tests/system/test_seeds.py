"""Seeds: the run seed decides everything; what an actor meets does not depend on how many others there are."""

import numpy as np

from tests.system.counting import counter_config
from tests.system.tiny import PATIENCE_S, replayed, run_through, start_child, tiny, transitions


def test_the_same_seed_is_the_same_run_in_another_process(tmp_path):
    config = tiny(total_steps=200)
    process, run = start_child(config, tmp_path)
    here = run_through(config, tmp_path)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, (out, err)
    one, other = replayed(here), replayed(tmp_path / run)
    assert len(one) > 100
    assert one.tobytes() == other.tobytes()


def test_another_seed_is_another_run(tmp_path):
    config = [tiny(total_steps=60, seed=seed, replay={"min_size": 1000}) for seed in (0, 1)]
    one, other = (transitions(replayed(run_through(c, tmp_path))) for c in config)
    for name in ("obs", "action"):
        assert not np.isin(one[name].ravel(), other[name].ravel()).any()


def test_more_actors_leave_the_seeds_of_the_others_alone(tmp_path):
    """The counter tells its simulator's seed."""
    met = []
    for actors in (1, 3):
        config = counter_config(total_steps=50 * actors, actors={"actors": actors, "chunk": 4}, replay={"min_size": 1000})
        rows = replayed(run_through(config, tmp_path))
        seeds = rows["obs"][:, 0].astype(int) + 65536 * rows["obs"][:, 3].astype(int)
        met.append({(int(w), int(s)): set(seeds[(rows["writer"] == w) & (rows["slot"] == s)]) for w in range(actors) for s in range(2)})
    few, many = met
    assert all(many[key] == few[key] for key in few)
    assert len(set().union(*many.values())) == 6
