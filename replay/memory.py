"""Room for the rings and who may use it: sizes that cannot fit are refused before a run starts, files of dead runs are removed."""

import fcntl
import os
import struct
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError, ManyhandsError
from replay.control import OWNER_PID, OWNER_START
from replay.layout import HEADER_BYTES, MAGIC, Layout, describe

SHM = Path("/dev/shm")
RESERVE = 0.05
"""Share of the memory that stays free for everything else."""
WRITER_PATIENCE_S = 5.0
"""How long a new writer waits for the lock of one that is still dying."""


SPILL = "--replay.spill FOLDER, which keeps the rows on a disk"


def required_bytes(dtype: np.dtype, tasks: int, capacity: int, writers: int, window: int) -> int:
    """Bytes that the ring of these sizes takes in shared memory, or where it is spilled to."""
    return Layout("size", tasks, capacity, writers, window, describe(dtype)).total_bytes


def check_fits(need: int, directory: Path = SHM, *, spilled: bool = False) -> None:
    """Raises ConfigError, with the numbers and the fix, where ``need`` bytes do not fit into ``directory`` or, unless ``spilled``, into
    memory."""
    if not Path(directory).is_dir():
        raise ConfigError(f"replay directory {directory} does not exist; fix: {'make it' if spilled else '/dev/shm, or make it'}")
    disk = os.statvfs(directory)
    free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    if need > free:
        more = f"more shared memory (docker: --shm-size {need // 10**9 + 1}g; Kubernetes: an emptyDir with medium Memory), or {SPILL}"
        raise ConfigError(
            f"replay needs {_show(need)}, {directory} has {_show(free)} free of {_show(size)}; fix: a smaller replay capacity, or "
            f"{'a larger disk' if spilled else more}"
        )
    if spilled:
        return
    memory = available_memory()
    if need > memory * (1 - RESERVE):
        raise ConfigError(
            f"replay needs {_show(need)}, this machine has {_show(memory)} of memory left; fix: a smaller replay capacity, or {SPILL}"
        )


def available_memory() -> int:
    """Bytes that this process may still take: of the machine, or of its control group where that is tighter."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    room = int(lines["MemAvailable"].split()[0]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (text := limit.read_text().strip()) != "max":
        room = min(room, max(0, int(text) - int(used.read_text())))
    return room


def sweep(directory: Path = SHM) -> list[Path]:
    """Removes ring files of dead runs and returns them.

    A file is kept while any process has it attached (the kernel drops such a lock at death, also across containers) and while the
    process that owns the run lives: its reader and writer may both be between two lives.
    """
    removed = []
    for path in sorted(Path(directory).glob("manyhands-*.ring")):
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, PermissionError):
            continue  # another sweep was faster, or another user's run
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.pread(file, 8, 0) == MAGIC and not alive(*_owner(file)):
                path.unlink(missing_ok=True)
                removed.append(path)
        except BlockingIOError:
            pass  # attached: a live run
        finally:
            os.close(file)
    return removed


def nameless(directory: Path) -> int:
    """An open file without a name until it is complete: a kill on the way leaks nothing, and nobody can attach half a ring."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot make a ring in {directory}: {error.strerror}; fix: a writable folder of memory or disk") from error


def write_all(file: int, rows: NDArray[np.uint8], at: int) -> None:
    """Writes rows (n, row bytes) to byte ``at`` of an open file and following, however many calls that takes."""
    data = np.ascontiguousarray(rows).data.cast("B")
    while data:
        done = os.pwrite(file, data, at)
        data, at = data[done:], at + done


def lock_writer(file: int, name: str) -> None:
    """Takes the lock that makes this process the only writer; it belongs to the open file and is dropped at death."""
    request = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
    patience = time.monotonic() + WRITER_PATIENCE_S
    while True:
        try:
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, request)
        except (BlockingIOError, PermissionError):
            if time.monotonic() > patience:
                raise ManyhandsError(f"another live process writes the ring {name}; a ring has one writer") from None
            time.sleep(0.01)
        else:
            return


def _owner(file: int) -> tuple[int, int]:
    words = np.frombuffer(os.pread(file, 8 * (OWNER_START + 1), HEADER_BYTES), np.int64)
    return int(words[OWNER_PID]), int(words[OWNER_START])


def alive(pid: int, start: int) -> bool:
    """Whether the process still is the one that was started then: a reused pid is not."""
    return start_time(pid) == start != 0


def start_time(pid: int) -> int:
    """Clock ticks from boot to the start of the process; 0 where there is none, or only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def _show(count: int) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 10**9 else f"{count / 1e6:.3g} MB"
