"""Where tests of RLBench run: on the double in ``tests/doubles``, in each variant, or with the marker ``rlbench`` on the real one.

Its fixtures are those of all tests: ``conftest.py``.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

DOUBLES = Path(__file__).resolve().parent / "doubles"
VARIANTS = ("1.1", "1.2", "ignoring")


def double_env(folder: Path, *faults: dict, variant: str = "1.2", display: str | None = ":77") -> dict[str, str]:
    """Of processes that are to find the double, in a place below ``folder``; with what goes wrong in them."""
    root = folder / "CoppeliaSim_Edu_V4_1_0_Ubuntu20_04"
    root.mkdir(parents=True, exist_ok=True)
    (root / "libcoppeliaSim.so").touch()
    env = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    env |= dict.fromkeys(("COPPELIASIM_ROOT", "LD_LIBRARY_PATH", "QT_QPA_PLATFORM_PLUGIN_PATH"), str(root))
    env |= {"DISPLAY": display} if display else {}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(DOUBLES), str(DOUBLES.parents[1]), os.environ.get("PYTHONPATH")]))
    return env | {"RLBENCH_DOUBLE": json.dumps({"variant": variant, "faults": faults})}


class Place:
    """An RLBench that can be loaded.

    Args:
        variant: of the double; None: the real one.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, variant: str | None) -> None:
        self._patch, self.folder, self.real = monkeypatch, folder, variant is None
        if variant is not None:
            self.variant = variant
            self._double()

    def script(self, *faults: dict, **more: object) -> None:
        """What goes wrong, here and in processes that are started from here: see ``tests/doubles/rlbench_double.py``."""
        assert not self.real
        self._patch.setenv("RLBENCH_DOUBLE", json.dumps({"variant": self.variant, "faults": faults, **more}))

    @property
    def done(self) -> dict[str, int]:
        """How often this process did what, since the place was made."""
        import rlbench_double  # pyright: ignore[reportMissingImports]

        return rlbench_double.done

    def _double(self) -> None:
        self._patch.chdir(Path.cwd())  # undone at the end: a launch that fails leaves the process in CoppeliaSim's folder
        root = self.folder / "CoppeliaSim_Edu_V4_1_0_Ubuntu20_04"
        root.mkdir()
        (root / "libcoppeliaSim.so").touch()
        for name in ("COPPELIASIM_ROOT", "LD_LIBRARY_PATH", "QT_QPA_PLATFORM_PLUGIN_PATH"):
            self._patch.setenv(name, str(root))
        self._patch.setenv("DISPLAY", ":77")
        self._patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(DOUBLES), os.environ.get("PYTHONPATH")])))
        self._patch.syspath_prepend(str(DOUBLES))
        self.script()


def made_place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variant: str | None) -> Iterator[Place]:
    """A place for one test; what was loaded and launched there is gone afterwards."""
    if variant is None:
        from outpost import rlbench_places, rlbench_tasks

        if not rlbench_tasks.installed() or rlbench_places.missing():
            pytest.skip(rlbench_places.missing() or "RLBench is not installed")
    _forget(variant)
    place = Place(monkeypatch, tmp_path, variant)
    yield place
    from outpost import rlbench

    if rlbench._living is not None:
        rlbench._living.close()
    _forget(variant)


def _forget(variant: str | None) -> None:
    """What a double has loaded. The real one cannot be loaded twice in a process, and stays."""
    if variant is None and "rlbench_double" not in sys.modules:
        return
    for name in list(sys.modules):
        if name.split(".")[0] in ("rlbench", "pyrep", "rlbench_double"):
            del sys.modules[name]


@pytest.fixture
def rlbench_double(request, monkeypatch, tmp_path):
    """The double of RLBench 1.2."""
    yield from made_place(request, monkeypatch, tmp_path, "1.2")


@pytest.fixture(params=VARIANTS)
def rlbench_variants(request, monkeypatch, tmp_path):
    """The double of each RLBench that is known."""
    yield from made_place(request, monkeypatch, tmp_path, request.param)


@pytest.fixture(params=[*VARIANTS, pytest.param(None, marks=pytest.mark.rlbench, id="real")])
def rlbench_place(request, monkeypatch, tmp_path):
    """Each double, and the real one."""
    yield from made_place(request, monkeypatch, tmp_path, request.param)
