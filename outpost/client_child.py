"""The process of one simulator, as a client starts it: ``python -m outpost.client_child FD``, orders and answers over that socket.

It ends when the socket does. What the simulator prints goes where the client said; here nothing is printed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import sys
from typing import Any

import numpy as np

from outpost import Failed
from outpost.client_simulators import MODULES, further, make
from outpost.wire import CHILD, pack_arrays, unpack_arrays

SIZE = struct.Struct("<I")
_PR_SET_PDEATHSIG = 1


def send(link: socket.socket, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """One message."""
    data = pack_arrays(CHILD, header, arrays)
    link.sendall(SIZE.pack(len(data)) + data)


def receive(link: socket.socket) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The next message. Raises EOFError where there is no other side any more."""
    size = SIZE.unpack(_exactly(link, SIZE.size))[0]
    return unpack_arrays(_exactly(link, size), CHILD)


def _exactly(link: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view, got = memoryview(data), 0
    while got < size:
        count = link.recv_into(view[got:])
        if not count:
            raise EOFError
        got += count
    return data


class Host:
    """Carries out orders on one simulator at a time."""

    def __init__(self) -> None:
        self.made: tuple[str, dict[str, Any]] | None = None
        self.simulator: Any = None

    def answer(self, order: dict[str, Any], arrays: dict[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """``reset`` (of a task that may be another than before) or ``step``."""
        if order["do"] == "reset":
            self._become(order)
            return {}, self.simulator.reset(order["episode"])
        obs, reward, terminated, truncated, success = self.simulator.step(arrays["action"])
        found = {"reward": float(reward), "terminated": bool(terminated), "truncated": bool(truncated), "success": bool(success)}
        return found, obs

    def _become(self, order: dict[str, Any]) -> None:
        wanted = (order["task"], order["options"])
        if self.made == wanted:
            self.simulator.seed = order["seed"]  # a launch of CoppeliaSim is dear
            return
        if self.simulator is not None:
            self.simulator.close()
        self.simulator, self.made = None, None
        self.simulator = make(order["task"], order["seed"], order["options"])
        self.made = wanted


def serve(link: socket.socket) -> None:
    """Until the client hangs up."""
    host = Host()
    while True:
        try:
            order, arrays = receive(link)
        except (EOFError, OSError):
            break
        try:
            header, obs = host.answer(order, arrays)
        except Failed as failed:
            header, obs = {"failed": failed.message, "retryable": failed.retryable}, {}
        except Exception as error:  # noqa: BLE001 - whatever a simulator raises, the client has to hear of it
            header, obs = {"failed": "{}: {}".format(type(error).__name__, str(error).partition("\n")[0]), "retryable": True}, {}
        send(link, header, {name: np.asarray(value) for name, value in obs.items()})
    if host.simulator is not None:
        host.simulator.close()


def main(descriptor: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM):  # the client decides when it is over
        signal.signal(number, signal.SIG_IGN)
    further(os.environ.get(MODULES, ""))
    serve(socket.socket(fileno=descriptor))
    sys.stdout.flush()
    os._exit(0)  # a simulator's libraries may not survive the end of the interpreter


if __name__ == "__main__":
    main(int(sys.argv[1]))
