"""The machine under a bench: what it is, how a child process is bound to some of its cores, how results reach the disk whole."""

import contextlib
import ctypes
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-bench"
RESULTS = ROOT / "bench" / "results"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def cores(count: int, skip: int = 0) -> set[int]:
    """The last ``count`` cores that this process may use, or those before the last ``skip``: the first one serves most interrupts."""
    allowed = sorted(os.sched_getaffinity(0))
    return set(allowed[: len(allowed) - skip][-count:])


def bound(count: int, skip: int = 0) -> list[str]:
    """Before a command: binds it, and every thread and process that it starts, to that many cores."""
    return ["taskset", "-c", ",".join(map(str, sorted(cores(count, skip))))]


def child_env(**more: str) -> dict[str, str]:
    """The environment of a child, which should run under ``python -P``: the folder of a script must not come first, ``bench/replay.py``
    would hide ``replay``. No setting of the caller's shell counts.
    """
    dropped = {*THREAD_VARIABLES, "XLA_FLAGS", "TORCHINDUCTOR_CACHE_DIR", "PYTHONPATH", "MANYHANDS_RUNS"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'bench'}", "PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1", **more}


def command_line(bench: str) -> str:
    """The command that runs this bench, for the results: they name no folder of this machine."""
    words = [f".../{Path(word).name}" if word.startswith("/") else word for word in sys.argv[1:]]
    return " ".join([f"python bench/{bench}.py", *words])


def describe() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {
        "machine": f"{cpu}, {os.cpu_count()} cores, Linux {platform.release()}",
        "python": platform.python_version(),
        "when": time.strftime("%Y-%m-%d %H:%M"),
        "load_before": os.getloadavg()[0],
    }


def busy_s() -> float:
    """CPU seconds that all processes of the machine together have used so far."""
    fields = Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def adopt_orphans() -> None:
    """From now on descendants that lose their parent become children of this process, so that ``RUSAGE_CHILDREN`` misses none."""
    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans(limit_s: float = 5.0) -> None:
    """Waits for those that a child left behind; call it when no child of this process is needed any more."""
    end = time.monotonic() + limit_s
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < end:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.05)


def write(path: Path, text: str) -> None:
    """Replaces the file at once: a reader, or whoever comes after an interruption, never meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(path.suffix + ".tmp")
    fresh.write_text(text)
    fresh.replace(path)


def write_json(path: Path, data: Any) -> None:
    write(path, json.dumps(data, indent=1) + "\n")


def tail(log: Path, lines: int = 5) -> str:
    """The last words of a child."""
    text = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return "\n".join(text[-lines:]) or "(it said nothing)"
