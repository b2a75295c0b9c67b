"""The bench of held-out tasks: which curves it wants, what it reads from episodes, what its page says of those that are missing."""

from types import SimpleNamespace

import pytest

from tests.benches import loaded


@pytest.fixture(scope="module")
def bench():
    return loaded("held_out")


def asked(**changes):
    given = {"pretrain": ["mt=mt3-c2farm-small"], "context": ["pearl=p"], "demos": [0, 1], "seeds": [0, 3], "episodes": 4}
    return SimpleNamespace(**{**given, "task": "metaworld_vision:button-press-topdown-v3", **changes})


def test_every_method_with_every_number_of_demonstrations_and_seed(bench):
    wanted = bench.jobs(asked())
    assert len({job.stem for job in wanted}) == len(wanted) == 3 * 2 * 2
    assert {job.method for job in wanted if job.context} == {"pearl"}
    assert {(job.method, job.preset) for job in wanted if not job.context} == {("scratch", "mt3-c2farm-small"), ("mt", "mt3-c2farm-small")}
    with pytest.raises(SystemExit, match="'mt' is not NAME=PRESET"):
        bench.jobs(asked(pretrain=["mt"]))


def test_a_curve_is_of_the_episodes_that_count(bench):
    learned, inferred = bench.Job("mt", "x", 1, 0, False), bench.Job("pearl", "p", 1, 0, True)
    told = ((50, True), (50, False), (0, False))
    rows = [{"settings": {"env_steps": steps}, "success_any": flag} for steps, flag in told]
    assert bench.curve(learned, rows) == {0: 0.0, 50: 0.5}
    looks = [{"look": look, "adapted_episodes": n, "success_any": look} for look in (True, False) for n in (0, 1)]
    assert bench.curve(inferred, looks) == {0: 1.0, 1: 1.0}, "adaptation episodes are no looks"


def test_the_page_has_means_all_seeds_and_what_is_missing(bench):
    found = {bench.Job("mt", "x", 1, seed, False): {0: 0.25, 50: value} for seed, value in ((0, 0.5), (3, 1.0))}
    text = bench.page(found, asked(), 10)
    assert "| mt | 1 | **25** (25, 25) | **75** (50, 100) |" in text
    assert "10 curves missing" in text and "button-press-topdown-v3 from few demonstrations" in text
    assert "adaptation episodes" not in text
