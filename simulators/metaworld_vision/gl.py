"""Which OpenGL draws without a screen here: found out once, in a child process, since a driver that does not work may hang or crash.

``MUJOCO_GL`` decides where it is set. Otherwise EGL is tried, which also uses a GPU, then OSMesa. What was found is left in the
environment, so that processes that this one starts do not ask again.
"""

import os
import subprocess
import sys
from functools import cache
from importlib import import_module
from typing import Any

from core.errors import ConfigError

BACKENDS = ("egl", "osmesa")
FOUND = "MANYHANDS_GL"
"""environment variable: the backend that a parent process has found to work"""
FIX = "apt-get install libosmesa6 libegl1 libgl1-mesa-dri"
_DEADLINE_S = 60.0
_TRY = """
import sys
from importlib import import_module
context = import_module(f"mujoco.{sys.argv[1]}").GLContext(16, 16)
context.make_current()
from OpenGL import GL
assert GL.glGetString(GL.GL_RENDERER)
context.free()
print("it draws", flush=True)
import os
os._exit(0)
"""


@cache
def backend() -> str:
    """``egl`` or ``osmesa``.

    Raises:
        ConfigError: neither draws here, or not the one that ``MUJOCO_GL`` asks for.
    """
    asked = os.environ.get("MUJOCO_GL", "").lower()
    if asked and asked not in BACKENDS:
        raise ConfigError(f"MUJOCO_GL is {asked!r}, which needs a screen or is off. Allowed: {', '.join(BACKENDS)}, or leave it unset")
    if (known := os.environ.get(FOUND)) in BACKENDS and asked in ("", known):
        return known
    said = {}
    for name in (asked,) if asked else BACKENDS:
        said[name] = _problem(name)
        if not said[name]:
            os.environ[FOUND] = name
            return name
    why = "; ".join(f"{name}: {problem}" for name, problem in said.items())
    raise ConfigError(f"nothing here draws images without a screen ({why}). On Debian or Ubuntu: {FIX}")


def context(size: int) -> Any:
    """A new GL context of this process, for images (size, size). ``made.free()`` may be called more than once.

    Raises:
        ConfigError: there is none.
    """
    name = backend()
    os.environ["PYOPENGL_PLATFORM"] = name  # as it was tried: what someone set for another library would be another backend
    # Mesa's software renderer: workers are the parallelism, it must not start threads of its own.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    try:
        made = import_module(f"mujoco.{name}").GLContext(size, size)
    except (ImportError, RuntimeError, OSError) as error:
        raise ConfigError(f"{name} gives no context for images ({error}). On Debian or Ubuntu: {FIX}") from error
    return made


def _problem(name: str) -> str:
    """Why a backend does not work; empty: it does."""
    environment = {**os.environ, "MUJOCO_GL": name, "PYOPENGL_PLATFORM": name}
    command = [sys.executable, "-P", "-c", _TRY, name]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_DEADLINE_S, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return f"no answer within {_DEADLINE_S:.0f} s"
    if "it draws" in done.stdout:
        return ""
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:200]
