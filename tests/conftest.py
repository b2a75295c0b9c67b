"""What holds for all tests: the settings of libraries that are read when they are loaded."""

import os
import signal

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line sets it: else two cores fight over tiny matrices

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a script, and processes that tests start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
import torch

from tests.rlbench_place import rlbench_double, rlbench_place, rlbench_variants  # noqa: F401 - fixtures of all tests

torch.set_num_threads(1)  # tensors of tests are tiny, and two threads that wait for each other on busy cores are slower by far


SLOW_FIRST = ("tests/system/", "tests/learner/", "tests/cli/", "tests/replay/test_gateway")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files of few tests first, as two processes share the files: the last one to begin should be a short one."""
    items.sort(key=lambda item: next((i for i, folder in enumerate(SLOW_FIRST) if item.nodeid.startswith(folder)), len(SLOW_FIRST)))


@pytest.fixture(autouse=True)
def _in_the_same_folder():
    """A test that leaves the process elsewhere would break others, far away."""
    here = os.getcwd()
    yield
    there = os.getcwd()
    os.chdir(here)
    assert there == here
