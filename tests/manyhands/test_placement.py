"""Placement with made-up machines: every seed once, evenly, within what was asked for."""

import itertools

import pytest

from core.errors import ConfigError
from manyhands.placement import CPU, RESERVE, devices_of, place, share, split, visible

GPUS = ["cuda:0", "cuda:1", "cuda:2"]


def seeds_of(placed):
    return [seed for group in placed.groups for seed in group.seeds]


@pytest.mark.parametrize("seeds", [1, 2, 5, 7])
@pytest.mark.parametrize("cores", [1, 2, 3, 16])
def test_on_a_cpu_each_seed_has_its_own_process_and_cores(seeds, cores):
    placed = place(range(seeds), [CPU], range(cores), None, 1)
    assert [group.seeds for group in placed.groups] == [(seed,) for seed in range(seeds)]
    assert placed.at_once == len(placed.lanes) == min(seeds, cores)
    given = [core for lane in placed.lanes for core in lane.cores]
    assert sorted(given) == list(range(cores)), "disjoint, none left over"
    sizes = [len(lane.cores) for lane in placed.lanes]
    assert max(sizes) - min(sizes) <= 1


def test_at_once_is_a_limit_that_may_exceed_the_cores():
    placed = place(range(5), [CPU], range(2), None, 1, at_once=3)
    assert placed.at_once == 3
    assert [lane.cores for lane in placed.lanes] == [(0,), (1,), (0,)]


def test_on_gpus_seeds_are_spread_and_stacked():
    placed = place(range(7), GPUS, range(12), None, 1)
    assert [len(group.seeds) for group in placed.groups] == [2, 2, 3]
    assert [group.device for group in placed.groups] == GPUS
    assert [lane.memory_fraction for lane in placed.lanes] == [1, 1, 1]
    assert placed.at_once == 7
    assert sorted(core for lane in placed.lanes for core in lane.cores) == list(range(12))


def test_several_processes_on_a_gpu_share_its_memory():
    placed = place(range(8), GPUS[:2], range(4), None, 2)
    assert [len(group.seeds) for group in placed.groups] == [2, 2, 2, 2]
    assert [lane.memory_fraction for lane in placed.lanes] == [(1 - RESERVE) / 2] * 4


def test_stacks_wait_for_one_another():
    placed = place(range(6), GPUS[:1], range(4), 2, 1)
    assert [group.seeds for group in placed.groups] == [(0, 1), (2, 3), (4, 5)]
    assert len(placed.lanes) == 1
    assert placed.at_once == 2


def test_fewer_seeds_than_gpus():
    assert [group.device for group in place([3, 9], GPUS, range(4), None, 1).groups] == GPUS[:2]


def test_at_once_below_the_number_of_gpus():
    placed = place(range(4), GPUS, range(4), 0, 1, at_once=2)
    assert {group.device for group in placed.groups} == {lane.device for lane in placed.lanes} == set(GPUS[:2])
    assert placed.at_once == 2


def test_a_stack_larger_than_at_once_is_refused():
    with pytest.raises(ConfigError, match=r"--at-once is 2 but 3 seeds of a stack begin together; fix: --at-once 3, or --stack 2"):
        place(range(3), [CPU], range(4), 3, 1, at_once=2)


def test_whatever_is_asked_each_seed_is_placed_once():
    for n, gpus, stack, per, at_once, cores in itertools.product([1, 3, 8], [0, 1, 3], [None, 0, 1, 3], [1, 2], [0, 1, 2, 5], [1, 4]):
        try:
            placed = place(range(n), GPUS[:gpus] or [CPU], range(cores), stack, per, at_once)
        except ConfigError:
            assert stack == 3 and 0 < at_once < 3
            continue
        assert sorted(seeds_of(placed)) == list(range(n))
        assert {group.device for group in placed.groups} == {lane.device for lane in placed.lanes}
        assert not at_once or placed.at_once <= at_once
        assert all(lane.cores for lane in placed.lanes)
        for device in GPUS[:gpus]:
            assert sum(lane.memory_fraction for lane in placed.lanes if lane.device == device) <= 1
        assert placed.describe()


def test_split_and_share():
    assert split(range(5), 2) == [(0, 1), (2, 3, 4)]
    assert share([4, 6], 3) == [(4,), (6,), (4,)]


@pytest.mark.parametrize(
    ("text", "setting", "gpus", "found"),
    [
        ("auto", "auto", 0, [CPU]),
        ("auto", "auto", 2, GPUS[:2]),
        ("auto", "cpu", 2, [CPU]),
        ("auto", "cuda:1", 2, ["cuda:1"]),
        ("cpu", "auto", 2, [CPU]),
        ("0,2", "auto", 3, ["cuda:0", "cuda:2"]),
    ],
)
def test_devices(text, setting, gpus, found):
    assert devices_of(text, setting, gpus) == found


@pytest.mark.parametrize(
    ("text", "setting", "gpus", "says"),
    [
        ("0", "auto", 0, "GPU 0, .* there is none"),
        ("1", "auto", 1, "there is only 0"),
        ("0,4", "auto", 3, "GPU 4, .* there are 0-2"),
        ("0,0", "auto", 3, "each once"),
        ("gpu", "auto", 3, "'gpu'; write auto, cpu"),
        ("auto", "cuda", 0, "learner.device is cuda"),
    ],
)
def test_devices_that_are_not_there(text, setting, gpus, says):
    with pytest.raises(ConfigError, match=says):
        devices_of(text, setting, gpus)


def test_what_a_process_sees_is_counted_from_what_this_one_sees():
    assert visible("cuda:1", None) == "1"
    assert visible("cuda:1", "4,7") == "7"
    assert visible(CPU, "4,7") == "4,7"
    assert visible(CPU, None) is None
