"""A whole run whose simulators keep failing in one kind of episode, and are replaced as planned: it says so, once, and counts it."""

import json

from tests.system.counting import check_rows, counter_config
from tests.system.tiny import replayed, run_through, saved


def test_quarantine_and_planned_restarts_are_in_metrics_log_and_counters(tmp_path):
    options = {"horizon": 5, "kinds": 4, "fail_kind": 2, "fail_at_step": 2, "restart_episodes": 6}
    config = counter_config(total_steps=700, simulator=options, evaluation={"episodes": 1})
    folder = run_through(config, tmp_path)
    counters, rows = saved(folder).components["fleet"]["counters"], replayed(folder)
    check_rows(rows, config)
    actors = config.actors.actors
    assert counters["quarantined"] == actors  # each finds out by itself
    assert counters["planned"] > actors
    assert 3 * actors <= counters["lost"] <= 4 * actors
    last = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()][-1]
    assert (last["actor/quarantined"], last["actor/planned_restarts"]) == (counters["quarantined"], counters["planned"])
    for actor in range(actors):
        log = (folder / "logs" / f"actor-{actor}" / "pool.log").read_text().splitlines()
        assert sum("quarantine: kind 2 of dummy:counter" in line for line in log) == 1
        assert any("planned restart after 6 episodes" in line for line in log)
