"""``manyhands doctor --sim rlbench``: each thing that RLBench needs, in the order in which to repair it. docs/rlbench.md.

Whatever loads a library of CoppeliaSim or Qt does so in a process of its own: those crash rather than raise.
"""

import os
import re
import shlex
from pathlib import Path

from manyhands.doctor import Answer, Check, ask_child
from manyhands.doctor_sim import Probe
from simulators.hooks import surroundings
from simulators.process import _ROOT

ROOT, LIBRARY, VERSION, QT, DISPLAY, PYREP, LOADS, RLBENCH = (
    "CoppeliaSim", "library", "version", "Qt platform", "display", "PyRep", "PyRep loads", "RLBench",
)  # fmt: skip
CHILD_S = 60.0
UNPACK = "unpack CoppeliaSim Edu 4.1.0 (V4_1_0 for your Ubuntu, from coppeliarobotics.com) and: export COPPELIASIM_ROOT=THAT_FOLDER"
PIP_PYREP = "COPPELIASIM_ROOT={root} pip install cffi git+https://github.com/stepjam/PyRep.git"
PIP_RLBENCH = "pip install --no-deps git+https://github.com/stepjam/RLBench.git && pip install pyquaternion natsort scipy pillow gymnasium"
PACKAGES = {
    "libGL": "libgl1",
    "libGLU": "libglu1-mesa",
    "libX11": "libx11-6",
    "libxcb-": "libxcb-xinerama0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0",
    "libxkbcommon": "libxkbcommon-x11-0",
    "libdbus": "libdbus-1-3",
    "libfontconfig": "libfontconfig1",
    "libglib": "libglib2.0-0",
    "libgthread": "libglib2.0-0",
    "libSM": "libsm6",
    "libICE": "libice6",
}
"""how a library that is missing begins -> Debian's package of it"""
LOAD = """
import ctypes, json, sys
library, number = ctypes.CDLL({path!r}), ctypes.c_int()
try:
    told = library.simGetInt32Parameter(0, ctypes.byref(number)) > 0
except AttributeError:
    told = False
print(json.dumps(number.value if told else 0), flush=True)
import os; os._exit(0)
"""
SHOW = """
import ctypes, json, os
from outpost import Failed, display
named = bool(os.environ.get("DISPLAY"))
try:
    own = display.private()
except Failed as failure:
    raise SystemExit(failure.message)
x, number = ctypes.CDLL("libX11.so.6"), ctypes.c_int()
x.XOpenDisplay.restype = ctypes.c_void_p
shown = x.XOpenDisplay(None)
glx = bool(shown) and bool(x.XQueryExtension(ctypes.c_void_p(shown), b"GLX", *[ctypes.byref(number)] * 3))
print(json.dumps({"display": os.environ["DISPLAY"], "named": named, "opens": bool(shown), "glx": glx}), flush=True)
own and own.close()
"""
FIND_PYREP = """
import importlib.metadata, importlib.util, json, pathlib
spec = importlib.util.find_spec("pyrep")
places = [pathlib.Path(place, "backend") for place in (spec.submodule_search_locations or [] if spec else [])]
has = lambda pattern: any(True for place in places for _ in place.glob(pattern))
try:
    version = importlib.metadata.version("pyrep")
except importlib.metadata.PackageNotFoundError:
    version = "without a version"
print(json.dumps({"there": bool(spec), "ours": has("sim.py") or has("_sim_cffi*"), "built": has("_sim_cffi*"), "version": version}))
"""
IMPORT_PYREP = "import json, os, pyrep.backend._sim_cffi; print(json.dumps(True), flush=True); os._exit(0)"
IMPORT_RLBENCH = """
import json, os, rlbench
from outpost.rlbench_versions import versions
print(json.dumps(versions()), flush=True)
os._exit(0)
"""


def probes() -> list[Probe]:
    """In the order of their repair."""
    return [
        Probe(ROOT, _root),
        Probe(LIBRARY, _library, (ROOT,)),
        Probe(VERSION, _version, (LIBRARY,)),
        Probe(QT, _qt, (ROOT,)),
        Probe(DISPLAY, _display),
        Probe(PYREP, _pyrep),
        Probe(LOADS, _pyrep_loads, (LIBRARY, PYREP)),
        Probe(RLBENCH, _rlbench_there),
        Probe("RLBench loads", _rlbench_loads, (LOADS, RLBENCH)),
    ]


def environment() -> dict[str, str]:
    """What a process of RLBench is started with."""
    return surroundings(["rlbench:reach_target"]).env


def _root() -> Check:
    told, root = os.environ.get("COPPELIASIM_ROOT", ""), _folder()
    if root is None:
        return Check(ROOT, "fail", "no folder of it: COPPELIASIM_ROOT is not set, and none is in a usual place", UNPACK)
    if _found(root, "libcoppeliaSim.so*") is None:
        what = f"{root} is no folder" if not root.is_dir() else f"{root} has no libcoppeliaSim.so"
        return Check(ROOT, "fail", what + (", and COPPELIASIM_ROOT names it" if told else ""), UNPACK)
    return Check(ROOT, "ok", str(root) + ("" if told else ", found in a usual place"))


def _library() -> Check:
    path = _found(_known(), "libcoppeliaSim.so*")
    answer = _ask(LOAD.format(path=str(path)))
    return Check(LIBRARY, "ok", f"{path} loads") if answer.value is not None else _cannot_load(LIBRARY, path, answer)


def _version() -> Check:
    """As the library says or, before it runs, the name of the folder."""
    root = _known()
    number = _ask(LOAD.format(path=str(_found(root, "libcoppeliaSim.so*")))).value
    named = re.search(r"V?(\d+)_(\d+)_(\d+)", root.resolve().name)
    version = ".".join(named.groups()) if named else ""
    if isinstance(number, int) and number:
        version = f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    if not version:
        return Check(VERSION, "ok", "not told by the library nor by its folder's name; PyRep needs 4.1.0")
    if not version.startswith("4.1."):
        return Check(VERSION, "fail", f"{version}, and PyRep is made for 4.1.0", UNPACK)
    return Check(VERSION, "ok", version)


def _qt() -> Check:
    """CoppeliaSim opens a window system even where it shows nothing."""
    root = _known()
    path = _found(root, "libqxcb.so") or _found(root / "platforms", "libqxcb.so")
    if path is None:
        return Check(QT, "fail", f"no libqxcb.so in {root}", "it comes with CoppeliaSim: " + UNPACK)
    answer = _ask(f"import ctypes, os; ctypes.CDLL({str(path)!r}); print('true', flush=True); os._exit(0)")
    return Check(QT, "ok", f"{path} loads") if answer.value is True else _cannot_load(QT, path, answer)


def _display() -> Check:
    answer = _ask(SHOW)
    if not isinstance(answer.value, dict):
        return Check(DISPLAY, "fail", answer.error.partition(". Install it")[0], "apt install xvfb libx11-6 libgl1-mesa-dri")
    seen = answer.value
    what = f"{seen['display']}, " + ("as DISPLAY says" if seen["named"] else "an Xvfb of its own")
    if not seen["opens"]:
        return Check(DISPLAY, "fail", f"{what}, cannot be opened", "unset DISPLAY: then an Xvfb is started for each simulator")
    if not seen["glx"]:
        fix = "unset DISPLAY" if seen["named"] else "apt install libgl1-mesa-dri libglx-mesa0"
        return Check(DISPLAY, "fail", f"{what}, has no GLX, without which CoppeliaSim cannot draw", fix)
    return Check(DISPLAY, "ok", f"{what}, with GLX")


def _pyrep() -> Check:
    """PyPI has an unrelated package of this name; the right one is built against CoppeliaSim."""
    answer, fix = _ask(FIND_PYREP), PIP_PYREP.format(root=shlex.quote(str(_folder() or "THAT_FOLDER")))
    if not isinstance(answer.value, dict):
        return Check(PYREP, "fail", answer.error, fix)
    seen = answer.value
    if not seen["there"]:
        return Check(PYREP, "fail", "not installed", fix)
    if not seen["ours"]:
        return Check(
            PYREP, "fail", f"{seen['version']}: PyPI's pyrep, an unrelated package of that name", f"pip uninstall -y pyrep && {fix}"
        )
    if not seen["built"]:
        return Check(PYREP, "fail", f"{seen['version']}, not built: it has no _sim_cffi", f"{fix} --force-reinstall")
    return Check(PYREP, "ok", seen["version"])


def _pyrep_loads() -> Check:
    answer = _ask(IMPORT_PYREP)
    if answer.value is True:
        return Check(LOADS, "ok", "built against this library")
    return Check(LOADS, "fail", answer.error, PIP_PYREP.format(root=shlex.quote(str(_folder()))) + " --force-reinstall --no-cache-dir")


def _rlbench_there() -> Check:
    answer = _ask("import importlib.util, json; print(json.dumps(importlib.util.find_spec('rlbench') is not None))")
    return Check(RLBENCH, "ok", "installed") if answer.value is True else Check(RLBENCH, "fail", "not installed", PIP_RLBENCH)


def _rlbench_loads() -> Check:
    answer = _ask(IMPORT_RLBENCH)
    if not isinstance(answer.value, dict):
        missing = re.search(r"No module named '(\w+)'", answer.error)
        package = "pillow" if missing and missing[1] == "PIL" else missing and missing[1]
        return Check("RLBench loads", "fail", answer.error, f"pip install {package}" if package else PIP_RLBENCH)
    commit = answer.value.get("rlbench_commit", "")
    return Check("RLBench loads", "ok", answer.value.get("rlbench", "without a version") + (f", commit {commit[:10]}" if commit else ""))


def _ask(code: str) -> Answer:
    """In a process with the environment of a simulator; where it finds our packages, and not those of the folder it stands in."""
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    return ask_child(code, CHILD_S, {**environment(), "PYTHONPATH": path, "PYTHONSAFEPATH": "1"})


def _folder() -> Path | None:
    root = environment().get("COPPELIASIM_ROOT") or os.environ.get("COPPELIASIM_ROOT")
    return Path(root) if root else None


def _known() -> Path:
    root = _folder()
    assert root is not None  # what asks needs the root
    return root


def _found(folder: Path, pattern: str) -> Path | None:
    return next(iter(sorted(folder.glob(pattern))), None) if folder.is_dir() else None


def _cannot_load(name: str, path: Path | None, answer: Answer) -> Check:
    missing = re.search(r"(lib[\w.+-]+?\.so[\w.]*): cannot open shared object", answer.error)
    known = [package for begin, package in PACKAGES.items() if missing and missing[1].startswith(begin)]
    if known:
        return Check(name, "fail", answer.error, f"apt install {known[0]}")
    fix = f"ldd {path} | grep 'not found' names what is missing" if missing else "unpack CoppeliaSim anew: the file may be damaged"
    return Check(name, "fail", answer.error, fix)
