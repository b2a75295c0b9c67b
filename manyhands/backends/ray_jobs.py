"""A cluster that only its dashboard's address is known of, as from a laptop: commands run on it as Ray jobs, settings travel as JSON."""

import asyncio
import re
import shlex
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import Any

from ray.job_submission import JobStatus, JobSubmissionClient
from ray.util.state import list_nodes

from core.errors import ManyhandsError
from manyhands.backends.ray_connect import in_one_line
from manyhands.cluster.nodes import Node

POLL_S = 0.5
FRESH_S = 60.0
"""that a new cluster's head may need before it takes jobs"""
NOISE = re.compile(r"^\d{4}-\d\d-\d\d .*\b(INFO|WARNING) \w+\.py:\d+ --|^\s*$")
"""what ray writes into the output of a job"""


class RayJobs:
    """See the module. Tokens are taken from the environment, or the file, that Ray documents; nothing here reads them.

    Args:
        address: http://HOST:PORT of the cluster's dashboard.
        python: command on the cluster's head for a Python that has manyhands.
    """

    def __init__(self, address: str, python: str) -> None:
        self.address, self.python = address, python
        try:
            self.client = JobSubmissionClient(address)
        except Exception as error:
            raise ManyhandsError(f"there is no Ray dashboard to talk to at {address}: {in_one_line(error)}") from error

    def nodes(self) -> list[Node]:
        """Those that are alive."""
        try:
            found: list[Any] = list_nodes(self.address, filters=[("state", "=", "ALIVE")], limit=10_000)
        except Exception as error:
            raise ManyhandsError(f"{self.address} does not tell of its nodes: {in_one_line(error)}") from error
        return [Node(node.node_ip, node.resources_total or {}) for node in found]

    def run(self, arguments: Sequence[str]) -> str:
        """``manyhands ARGUMENTS`` on the cluster, to its end. Returns its output.

        Raises:
            ManyhandsError: with its own last line, where it failed.
        """
        job = self._submit(arguments)
        while not (status := self.client.get_job_status(job)).is_terminal():
            time.sleep(POLL_S)
        output = _cleaned(self.client.get_job_logs(job))
        if status == JobStatus.SUCCEEDED:
            return output
        errors = [line for line in output.splitlines() if line.startswith("error: ")]
        told = errors[-1].removeprefix("error: ") if errors else f"{self.client.get_job_info(job).message}; its output: {output[-500:]}"
        raise ManyhandsError(told)

    def stream(self, arguments: Sequence[str]) -> Generator[str, None, None]:
        """The lines that ``manyhands ARGUMENTS`` writes on the cluster, as they come; it is ended when nobody listens any more."""
        job = self._submit(arguments)
        loop = asyncio.new_event_loop()
        lines: Any = self.client.tail_job_logs(job)
        try:
            rest = ""
            while True:
                try:
                    rest += loop.run_until_complete(anext(lines))
                except StopAsyncIteration:
                    return
                *whole, rest = rest.split("\n")
                yield from (line for line in whole if not NOISE.match(line))
        finally:
            self.client.stop_job(job)
            with suppress(RuntimeError):  # where Ctrl-C came in the middle of it
                loop.run_until_complete(lines.aclose())
            loop.close()

    def _submit(self, arguments: Sequence[str]) -> str:
        """Returns the job's id. A head that has only just been started takes none for some seconds."""
        entrypoint, until = f"{self.python} -m manyhands {shlex.join(arguments)}", time.monotonic() + FRESH_S
        while True:
            try:
                return self.client.submit_job(entrypoint=entrypoint)
            except Exception as error:
                if "No available agent" not in str(error) or time.monotonic() > until:
                    raise ManyhandsError(f"{self.address} takes no job: {in_one_line(error)}") from error
            time.sleep(POLL_S)


def _cleaned(output: str) -> str:
    return "\n".join(line for line in output.splitlines() if not NOISE.match(line))
