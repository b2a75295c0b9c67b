"""Components that tell about the process they live in, for the tests of backends."""

import os
import threading
import time

from core.errors import ConfigError


class Probe:
    def __init__(self, number: int) -> None:
        if number < 0:
            raise ConfigError(f"number is {number}; it must be 0 or more")
        self.number, self.seen = number, []
        os.write(1, b"made, on stdout\n")

    def about(self) -> dict[str, object]:
        import torch

        return {"pid": os.getpid(), "threads": torch.get_num_threads(), "main": threading.current_thread() is threading.main_thread()}

    def see(self, value: int) -> int:
        self.seen.append(value)
        return value

    def wait_for(self, count: int) -> list[int]:
        """Returns once so many values were seen, which takes another thread."""
        until = time.monotonic() + 60
        while len(self.seen) < count and time.monotonic() < until:
            time.sleep(0.01)
        return list(self.seen)

    def fail(self) -> None:
        raise ConfigError("asked to fail")

    def bug(self) -> None:
        raise ZeroDivisionError("asked for a bug")
