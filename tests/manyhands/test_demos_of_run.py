"""The demonstrations of a run: refused where nobody would learn from them, gathered once, kept in its folder, read back or refused."""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from algos.lib.image_context import Config as InferredConfig
from core.demofile import read
from core.errors import ConfigError, DemoError
from manyhands import build, session
from manyhands.config import DemosConfig
from manyhands.demos import of_run, store
from manyhands.estimate import learner_speed, print_estimate
from tests.core.test_demofile import same
from tests.system.farm import FARM, farmed
from tests.system.tiny import tiny

FARMED = farmed(tasks=("blocks:touch", "blocks:lift"))
QUIET = Console(file=io.StringIO())


def head_start(config, updates: int):
    return replace(config, replay=replace(config.replay, head_start=updates))


@pytest.fixture(scope="module")
def spec():
    return build.task_spec(FARMED)


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A folder of runs with the demonstrations in it."""
    root = tmp_path_factory.mktemp("runs")
    return root, of_run.gather(FARMED, root, QUIET)


# ---- what is refused before anything begins ---------------------------------------------------------------------------------


def one_line(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_demonstrations_for_who_does_not_learn_from_them_are_refused(tmp_path):
    with pytest.raises(ConfigError) as error:
        session.check(tiny(demos={"count": 3}), tmp_path, QUIET)
    assert one_line(error) == "demos.count is 3, but sac does not learn from demonstrations. Allowed: 0"


def test_a_head_start_without_demonstrations_is_refused():
    with pytest.raises(ConfigError) as error:
        replace(FARMED, demos=DemosConfig()).check()
    assert one_line(error) == "replay.head_start is 4 updates from demonstrations, but demos.count is 0: set that"


def test_a_head_start_of_who_needs_a_context_of_his_own_is_refused(tmp_path, spec):
    inferring = replace(FARMED, algo=replace(FARM, inferred=InferredConfig(latent=2)))
    with pytest.raises(ConfigError) as error:
        session.check(inferring.check(), tmp_path, QUIET)
    assert one_line(error).startswith("replay.head_start is 4, but this algorithm needs what its policy did of every task")
    assert one_line(error).endswith("Allowed: 0")
    of_run.check_use(head_start(inferring, 0), spec)


@pytest.mark.parametrize(("setting", "value"), [("count", -1), ("seed", -1)])
def test_numbers_that_are_none_are_refused(setting, value):
    with pytest.raises(ConfigError) as error:
        DemosConfig(**{setting: value})
    assert one_line(error) == f"demos.{setting} is {value}; it must be 0 or more"


def test_who_can_learn_from_them_passes(tmp_path):
    assert session.check(FARMED.check(), tmp_path, QUIET).keyframes is not None


# ---- gathered, kept, loaded -------------------------------------------------------------------------------------------------


def test_what_is_missing_is_collected_once_and_said(shown):
    root, found = shown
    told = Console(file=io.StringIO(), width=200)
    assert [len(paths) for paths in found] == [2, 2]
    assert all(path.is_relative_to(store.home(root)) for paths in found for path in paths)
    before = {path: path.stat().st_mtime_ns for paths in found for path in paths}
    assert of_run.gather(FARMED, root, told) == found
    assert told.file.getvalue() == ""  # type: ignore[attr-defined] - StringIO
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_folder_than_that_beside_the_runs_can_be_named(tmp_path):
    config = replace(FARMED, tasks=("blocks:touch",), demos=DemosConfig(count=1, folder=str(tmp_path / "mine"), seed=3))
    told = Console(file=io.StringIO(), width=200)
    ((path,),) = of_run.gather(config, tmp_path / "runs", told)
    assert path.is_relative_to(tmp_path / "mine")
    assert read(path).info["seed"] == "3"
    assert "collecting 1 demonstrations of blocks:touch ..." in told.file.getvalue()  # type: ignore[attr-defined]


def test_a_run_without_demonstrations_gathers_and_keeps_nothing(tmp_path):
    found = of_run.gather(tiny(), tmp_path, QUIET)
    of_run.keep(found, tmp_path / "run")
    assert found == [] and not list(tmp_path.iterdir())


def copied(found, folder):
    return [[Path(shutil.copy(path, folder / f"{task}-{path.name}")) for path in paths] for task, paths in enumerate(found)]


def test_a_run_keeps_its_own_whatever_becomes_of_those_it_was_given(shown, tmp_path):
    _, found = shown
    given, run = tmp_path / "given", tmp_path / "run"
    given.mkdir()
    of_run.keep(copied(found, given), run)
    shutil.rmtree(given)
    loaded = of_run.load(FARMED, run)
    for task, paths in enumerate(found):
        assert [path.name for path in sorted((run / "demos" / str(task)).iterdir())] == ["000.demo", "001.demo"]
        for have, path in zip(loaded[task], paths, strict=True):
            same(have, read(path))
    assert [len(demos) for demos in loaded] == [2, 2]


def test_a_disk_without_links_gets_copies(shown, tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr("os.link", no_links)
    of_run.keep(shown[1], tmp_path)
    assert [len(demos) for demos in of_run.load(FARMED, tmp_path)] == [2, 2]


def test_one_that_is_missing_or_damaged_is_named(shown, tmp_path):
    of_run.keep(copied(shown[1], tmp_path), tmp_path)
    second = store.path_of(tmp_path / "demos" / "1", 1)
    whole = second.read_bytes()
    second.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DemoError, match=str(second)):
        of_run.load(FARMED, tmp_path)
    second.unlink()
    with pytest.raises(DemoError, match=str(second)):
        of_run.load(FARMED, tmp_path)


def test_demonstrations_by_other_cameras_are_refused(shown, spec, tmp_path):
    of_run.keep(shown[1], tmp_path)
    of_run.check_fit(FARMED, spec, tmp_path)
    other = replace(FARMED, simulator=replace(FARMED.simulator, size=8))
    with pytest.raises(DemoError, match=r"^blocks:touch: not a demonstration of .*; fix: the simulator options that they were") as error:
        of_run.check_fit(other, build.task_spec(other), tmp_path)
    one_line(error)


def columns_of(ring):
    return {(name, task): ring.rows[task][name][ring.whole(task)].tobytes() for task in range(2) for name in ring.layout.dtype.names}


def test_the_same_demonstrations_are_the_same_rows_of_the_same_seed_only(shown, spec, tmp_path):
    of_run.keep(shown[1], tmp_path)
    rows = []
    for number, seed in enumerate((0, 0, 1)):
        ring = build.demos(replace(FARMED, seed=seed), spec, f"test-of-run-{number}", of_run.load(FARMED, tmp_path))
        try:
            rows.append(columns_of(ring))
        finally:
            ring.unlink()
            ring.close()
    assert rows[0] == rows[1] != rows[2]
    assert all(rows[0].values())


# ---- what a run would cost --------------------------------------------------------------------------------------------------


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr("manyhands.estimate.PROBE_S", 0.01)


@pytest.mark.usefixtures("hurried")
def test_what_a_run_from_demonstrations_would_cost_is_estimated(spec, tmp_path):
    told = Console(file=io.StringIO(), width=200)
    print_estimate(FARMED, spec, tmp_path, told)
    said = told.file.getvalue()  # type: ignore[attr-defined] - StringIO
    assert all(f"\n{word} " in said for word in ("replay     ", "disk       ", "simulators ", "learner    ", "estimate   "))


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("changes", [{"inferred": InferredConfig(latent=2)}, {"tasks_per_batch": 1}, {"priority": 0.0}])
def test_every_form_of_c2farm_can_be_estimated(spec, changes):
    assert learner_speed(replace(FARMED, algo=replace(FARM, **changes)), spec).updates_per_s > 0
