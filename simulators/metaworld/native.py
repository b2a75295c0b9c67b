"""The library behind the fast step: compiled once per machine from ``native/``, loaded, and checked against NumPy and SciPy.

Bits are the point: a reward has to be the one that stock computes. Where this machine's compiler, MuJoCo or NumPy cannot give them,
``library()`` says why and the stock environment is stepped instead.
"""

import ctypes
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from ctypes import POINTER, c_char_p, c_double, c_int, c_void_p
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

SOURCES = Path(__file__).parent / "native"
FLAGS = ("-std=c++20", "-O2", "-shared", "-fPIC", "-ffp-contract=off")
"""No contraction: a product and a sum in one rounding would change bits."""
OBS, FRAME, MAX_EXTRAS = 39, 18, 40
"""as in native/simulator.hpp"""
UNSTABLE, BROKEN, NOT_FINITE = 1, 2, 3
"""faults of a step"""
_DOUBLE = 12
"""NumPy's type number of float64"""
_CHECKS = 300
"""random numbers per function that the library must get right to the last bit"""


class Unavailable(Exception):  # noqa: N818 - a state of this machine, not a mistake
    """The fast step cannot be had here. The message says why and what would help."""


class Function(ctypes.Structure):
    _fields_ = (("loop", c_void_p), ("data", c_void_p))


class Math(ctypes.Structure):
    _fields_ = (
        *((name, Function) for name in ("exp", "log", "sin", "cos")),
        ("long_tail_scale", c_double),
        ("gaussian_scale", c_double),
        ("fused_dot", c_int),
    )


class Settings(ctypes.Structure):
    """What stays the same over a simulator's episodes."""

    _fields_ = (
        *((name, c_int) for name in ("task", "reward_version", "success_version", "hide_goal", "sparse", "horizon")),
        ("action_scale", c_double),
        ("mocap_low", c_double * 3),
        ("mocap_high", c_double * 3),
        ("low", c_double * OBS),
        ("high", c_double * OBS),
    )


class Block(ctypes.Structure):
    """Arrays of n simulators, see native/engine.cpp."""

    _fields_ = (
        ("n", c_int),
        ("frames", c_int),
        ("simulators", POINTER(c_void_p)),
        *((name, c_void_p) for name in ("action", "closing", "obs", "reward", "success", "truncated", "progress")),
        ("first_slot", c_int),
    )


@cache
def library() -> ctypes.CDLL:
    """The loaded library.

    Raises:
        Unavailable: no compiler, another Meta-World than the one the rewards were written after, or bits that differ.
    """
    try:
        loaded = _declared(_loaded())
        _lend_numpy(loaded)
        _check(loaded)
    # Whatever is odd about a machine must not take stock's step from it, too.
    except (OSError, RuntimeError, ImportError, AttributeError, TypeError, ValueError) as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from error
    return loaded


@cache
def unavailable() -> str:
    """Why there is no fast step here; empty: there is."""
    try:
        library()
    except Unavailable as reason:
        return str(reason)
    return ""


@cache
def task_index() -> dict[str, int]:
    """Task name -> its number in the library; tasks that are not there are stepped by stock."""
    return {library().metaworld_name(i).decode(): i for i in range(library().metaworld_count())}


def _loaded() -> ctypes.CDLL:
    """Compiles the library if this machine has not done so yet. Processes that come at the same time wait for the first."""
    import mujoco

    compiler = next((found for name in (os.environ.get("CXX"), "g++", "c++", "clang++") if name and (found := shutil.which(name))), None)
    if compiler is None:
        raise Unavailable("no C++ compiler was found; install one, for example: apt install g++")
    home = Path(mujoco.__file__).parent
    engine = next(iter(sorted(home.glob("libmujoco.*"))), None)
    if engine is None:
        raise Unavailable(f"{home} holds no libmujoco; install MuJoCo's own wheel: pip install mujoco")
    command = [compiler, *FLAGS, f"-I{home / 'include'}", str(SOURCES / "engine.cpp"), str(engine), f"-Wl,-rpath,{home}"]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "manyhands"
    target = folder / f"metaworld-{_identity(command)}.so"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "metaworld.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return _open(target) if target.exists() else _compile(command, target)
    except OSError as error:
        raise Unavailable(f"the fast step could not be kept in {folder} ({error}); set XDG_CACHE_HOME to a writable folder") from error


def _identity(command: list[str]) -> str:
    """Of everything that the library depends on: sources, compiler, MuJoCo, machine. A home may be shared by many machines."""
    sources = [source.read_bytes() for source in sorted(SOURCES.rglob("*.[ch]pp"))]
    compiler = subprocess.run([command[0], "--version"], capture_output=True).stdout
    parts = [*sources, compiler, " ".join(command).encode(), version("mujoco").encode(), " ".join(platform.uname()[4:]).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _open(target: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(target))
    except OSError as error:
        target.unlink()
        raise Unavailable(f"{target} was damaged and is removed; the next process compiles it again ({error})") from error


def _compile(command: list[str], target: Path) -> ctypes.CDLL:
    """Once: what a compiler said is kept, so that not every worker asks it again."""
    refused = target.with_suffix(".failed")
    if not refused.exists():
        half = target.with_suffix(".part")
        done = subprocess.run([*command, "-o", str(half)], capture_output=True, text=True)
        if not done.returncode:
            os.replace(half, target)
            return ctypes.CDLL(str(target))
        refused.write_text(done.stderr[-2000:])
    raise Unavailable(
        f"{command[0]} could not compile the fast step; it wants C++20 (remove {refused} to try again):\n{refused.read_text()}"
    )


def _declared(lib: ctypes.CDLL) -> ctypes.CDLL:
    """Argument and result types."""
    doubles = c_void_p  # the address of a float64 array
    signatures: dict[str, tuple[Any, tuple]] = {
        "message": (c_char_p, ()),
        "count": (c_int, ()),
        "name": (c_char_p, (c_int,)),
        "attributes": (c_char_p, (c_int,)),
        "math": (POINTER(Math), ()),
        "norm": (c_double, (doubles, c_int)),
        **dict.fromkeys(("squared", "exp", "log", "sin", "cos"), (c_double, (c_double,))),
        "quat": (None, (doubles, doubles)),
        "share": (c_void_p, (c_void_p,)),
        "disown": (None, (c_void_p,)),
        "make": (c_void_p, (c_void_p, c_void_p, POINTER(Settings))),
        "free": (None, (c_void_p,)),
        "begin": (None, (c_void_p, doubles, doubles, doubles, doubles, doubles)),
        "go_on": (None, (c_void_p,)),
        "last": (None, (c_void_p, doubles)),
        "step": (c_int, (c_void_p, c_void_p, doubles, doubles)),
        "step_block": (c_int, (POINTER(Block), POINTER(c_int))),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, f"metaworld_{name}")
        function.restype, function.argtypes = result, arguments
    return lib


class _UFunc(ctypes.Structure):
    """The beginning of NumPy's public PyUFuncObject."""

    _fields_ = (
        ("head", c_void_p * 2),
        ("counts", c_int * 3),
        ("identity", c_int),
        ("functions", POINTER(c_void_p)),
        ("data", POINTER(c_void_p)),
        ("ntypes", c_int),
        ("reserved", c_int),
        ("name", c_char_p),
        ("types", POINTER(ctypes.c_char)),
    )


def _lend_numpy(lib: ctypes.CDLL) -> None:
    """Gives the library NumPy's inner loops: which one NumPy runs, and so the last bit, depends on the CPU."""
    math = lib.metaworld_math().contents
    for name in ("exp", "log", "sin", "cos"):
        ufunc = _UFunc.from_address(id(getattr(np, name)))
        at = next(i for i in range(ufunc.ntypes) if ord(ufunc.types[2 * i]) == ord(ufunc.types[2 * i + 1]) == _DOUBLE)
        setattr(math, name, Function(ufunc.functions[at], ufunc.data[at] if ufunc.data else None))
    math.long_tail_scale, math.gaussian_scale = float(np.sqrt(1 / 0.1 - 1)), float(np.sqrt(-2 * np.log(0.1)))
    three = np.random.default_rng(0).normal(size=(_CHECKS, 3))
    for math.fused_dot in (1, 0):
        if all(lib.metaworld_norm(x.ctypes.data, 3) == np.linalg.norm(x) for x in three):
            break


def _check(lib: ctypes.CDLL) -> None:
    """Compares every function whose bits could depend on the machine."""
    from scipy.spatial.transform import Rotation

    if version("metaworld") != "3.1.1":
        raise Unavailable(f"the rewards are those of metaworld 3.1.1, not {version('metaworld')}: pip install metaworld==3.1.1")
    rng = np.random.default_rng(1)
    for n in (2, 3, 4):
        _same("np.linalg.norm", rng.normal(size=(_CHECKS, n)), lambda x: lib.metaworld_norm(x.ctypes.data, len(x)), np.linalg.norm)
    numbers = rng.uniform(0.001, 10.0, _CHECKS)
    for name in ("log", "sin", "cos"):
        _same(f"np.{name}", numbers, getattr(lib, f"metaworld_{name}"), getattr(np, name))
    _same("np.exp", -numbers, lib.metaworld_exp, np.exp)
    _same("x ** 2", numbers, lib.metaworld_squared, lambda x: x**2)
    matrices = Rotation.from_quat(rng.normal(size=(_CHECKS, 4))).as_matrix()
    ours = np.empty((_CHECKS, 4))
    for matrix, quat in zip(matrices, ours, strict=True):
        lib.metaworld_quat(np.ascontiguousarray(matrix).ctypes.data, quat.ctypes.data)
    if not np.array_equal(ours, [Rotation.from_matrix(matrix).as_quat() for matrix in matrices]):
        raise Unavailable("SciPy's Rotation.as_quat has other last bits on this machine; please report its CPU and SciPy's version")


def _same(what: str, inputs: np.ndarray, ours: Callable, numpys: Callable) -> None:
    if any(ours(x) != numpys(x) for x in inputs):
        raise Unavailable(f"{what} has other last bits on this machine; please report its CPU and NumPy's version")
