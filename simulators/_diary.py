"""Where a pool's workers write, and what the pool writes down about them."""

import time
from collections.abc import Iterable
from pathlib import Path


class Diary:
    """The files below ``folder``; None: temporary ones for the workers, and none for the pool."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def of_worker(self, worker: int) -> Path | None:
        """What a worker prints."""
        return None if self.folder is None else self.folder / f"simulators-{worker}.log"

    def write(self, lines: Iterable[str]) -> None:
        """Adds lines, with the time, to what happened to the workers."""
        if self.folder is not None:
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            with (self.folder / "pool.log").open("a") as log:
                log.writelines(f"{now} {line}\n" for line in lines)
