"""The vision benchmarks as data: eleven tasks, five splits, and simulators that take their options."""

import pytest

import simulators
from core.errors import ConfigError
from protocols.vision import BENCHMARKS, META_WORLD, RESERVES, RLBENCH


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=BENCHMARKS)
def test_eleven_tasks_of_which_five_are_held_out_in_turn(benchmark):
    assert len(set(benchmark.tasks)) == 11 and len(set(benchmark.held_out)) == 5
    for held_out in benchmark.held_out:
        trained = benchmark.train_tasks(held_out)
        assert len(trained) == 10 and {*trained, held_out} == set(benchmark.tasks)
    with pytest.raises(ConfigError, match="split of"):
        benchmark.train_tasks(next(task for task in benchmark.tasks if task not in benchmark.held_out))
    with pytest.raises(ConfigError, match="split of a protocol"):
        benchmark.options("tset")


def test_meta_world_s_simulators_take_the_options():
    for split in ("train", "test"):
        for task in (*META_WORLD.tasks, *RESERVES):
            simulators.check(task, META_WORLD.options(split))
    assert META_WORLD.options("test")["goals"] == META_WORLD.evaluation_episodes == 30


def test_the_numbers_of_the_paper():
    numbers = (RLBENCH.demos, RLBENCH.test_demos, RLBENCH.horizon, RLBENCH.evaluation_episodes, RLBENCH.camera)
    assert numbers == (5, (0, 1, 2), 10, 30, "front")
