"""Where CoppeliaSim is found, what a process is started with, and which tasks there are: without RLBench."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest

from outpost import rlbench_places, rlbench_tasks, rlbench_versions

ROOT = Path(__file__).resolve().parents[2]


def put(folder):
    folder.mkdir(parents=True)
    (folder / "libcoppeliaSim.so").touch()
    return folder


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    for name in ("COPPELIASIM_ROOT", "LD_LIBRARY_PATH", "QT_QPA_PLATFORM_PLUGIN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(rlbench_places, "_PARENTS", (str(tmp_path / "home"), str(tmp_path / "opt")))
    return tmp_path


def test_nothing_is_set_where_there_is_no_coppeliasim(nowhere):
    (nowhere / "opt" / "CoppeliaSim_empty").mkdir(parents=True)
    assert rlbench_places.find_root() is None and rlbench_places.environment() == {}
    assert "COPPELIASIM_ROOT is not set" in rlbench_places.missing()


def test_it_is_found_in_usual_places_and_of_several_the_version_that_fits(nowhere):
    put(nowhere / "home" / "CoppeliaSim_Edu_V4_6_0")
    fits = put(nowhere / "opt" / "CoppeliaSim_Edu_V4_1_0_Ubuntu20_04")
    assert rlbench_places.find_root() == fits


def test_what_is_set_is_kept_and_completed(nowhere, monkeypatch):
    monkeypatch.setenv("COPPELIASIM_ROOT", "/somewhere")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/a:/somewhere:/b")
    made = rlbench_places.environment()
    assert made == {"COPPELIASIM_ROOT": "/somewhere", "LD_LIBRARY_PATH": "/somewhere:/a:/b", "QT_QPA_PLATFORM_PLUGIN_PATH": "/somewhere"}
    assert "COPPELIASIM_ROOT is /somewhere, where no libcoppeliaSim.so is" in rlbench_places.missing()


def test_a_folder_is_told_to_processes_that_begin_elsewhere(nowhere, monkeypatch):
    fits = put(nowhere / "here" / "CoppeliaSim")
    monkeypatch.chdir(nowhere / "here")
    monkeypatch.setenv("COPPELIASIM_ROOT", "CoppeliaSim")
    made = rlbench_places.environment()
    assert set(made.values()) == {str(fits)} and rlbench_places.environment("CoppeliaSim") == made


def test_with_what_is_made_nothing_is_missing(nowhere, monkeypatch):
    root = put(nowhere / "opt" / "CoppeliaSim")
    for name, value in rlbench_places.environment(str(root)).items():
        assert rlbench_places.missing()
        monkeypatch.setenv(name, value)
    assert rlbench_places.missing() == ""


def test_tasks_are_known_without_rlbench_and_named_as_rlbench_does():
    known = rlbench_tasks.KNOWN
    assert len(known) == 108 and {"reach_target", "hannoi_square", "stack_chairs", "tv_off"} <= set(known)
    assert rlbench_tasks.class_name("put_umbrella_in_umbrella_stand") == "PutUmbrellaInUmbrellaStand"
    assert [task for task in known if not rlbench_tasks.is_name(task)] == []


def test_where_rlbench_is_installed_its_own_are_found_without_loading_it(rlbench_double):
    assert rlbench_tasks.installed()
    assert rlbench_tasks.tasks() == ("open_box", "pick_and_lift", "push_buttons", "reach_target", "stack_chairs", "wipe_desk")
    assert "rlbench" not in sys.modules


def test_another_folder_of_that_name_is_not_rlbench(monkeypatch, tmp_path):
    (tmp_path / "rlbench").mkdir()
    (tmp_path / "rlbench" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not rlbench_tasks.installed() and rlbench_tasks.tasks() == rlbench_tasks.KNOWN


def test_nothing_of_this_needs_more_than_numpy():
    code = (
        "import sys\n"
        "import outpost.rlbench, outpost.display\n"
        "outpost.rlbench.fields({'cameras': 5})\n"
        "ours = {'core', 'torch', 'ray', 'simulators', 'manyhands', 'rlbench', 'pyrep', 'redis', 'msgpack'}\n"
        "sys.exit(', '.join(ours & {name.split('.')[0] for name in sys.modules}) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_versions_say_the_commit_where_pip_knows_it(monkeypatch, tmp_path):
    for name, version in (("rlbench", "1.2.0"), ("PyRep", "4.1.0.3")):
        told = tmp_path / f"{name}-{version}.dist-info"
        told.mkdir()
        (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (told / "direct_url.json").write_text('{"url": "https://x", "vcs_info": {"vcs": "git", "commit_id": "8f420be"}}')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COPPELIASIM_ROOT", "/opt/CoppeliaSim_Edu_V4_1_0_Ubuntu20_04")
    told = {"rlbench": "1.2.0", "pyrep": "4.1.0.3", "pyrep_commit": "8f420be", "coppeliasim": "4.1.0"}
    assert rlbench_versions.versions() == told


def test_what_pip_does_not_know_says_its_version_itself(monkeypatch):
    monkeypatch.setitem(sys.modules, "rlbench", SimpleNamespace(__version__="1.2.0"))
    monkeypatch.setattr("importlib.metadata.distribution", _unknown)
    monkeypatch.delenv("COPPELIASIM_ROOT", raising=False)
    assert rlbench_versions.versions() == {"rlbench": "1.2.0"}


def _unknown(name):
    raise PackageNotFoundError(name)
