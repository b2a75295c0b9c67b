"""A reader that leaves, as in ``manyhands runs | head``, ends a command quietly."""

import os
import sys

import pytest

from manyhands.cli import answered
from tests.system.tiny import spawn


@pytest.mark.parametrize("command", [["--help"], ["train", "reach-sac", "--help"], ["presets"]])
def test_a_reader_that_leaves_ends_a_command_without_a_word(command):
    reader, writer = os.pipe()
    os.close(reader)
    process = spawn("-u", "-m", "manyhands", *command, stdout=writer)
    os.close(writer)
    assert process.communicate()[1] == ""
    assert process.returncode == 1


def test_an_error_is_told_all_the_same(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    process = spawn("-m", "manyhands", "show", "nope", "--runs", str(tmp_path), stdout=writer)
    os.close(writer)
    assert process.communicate()[1].startswith("error: ")
    assert process.returncode == 2


def test_what_is_left_in_the_buffer_does_not_change_the_code(tmp_path):
    """As of a run whose reader left long before it ended."""
    code = "import sys; from manyhands.cli import answered; sys.exit(answered(lambda: len(f'{print(7)}') - 4))"
    reader, writer = os.pipe()
    os.close(reader)
    process = spawn("-c", code, stdout=writer, env={name: os.environ[name] for name in os.environ if name != "PYTHONUNBUFFERED"})
    os.close(writer)
    assert (process.communicate()[1], process.returncode) == ("", 0)


def test_the_end_of_another_pipe_is_no_end_of_the_reader(monkeypatch):
    def fail() -> int:
        raise BrokenPipeError("of a simulator")

    with open(os.devnull, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", out)
        with pytest.raises(BrokenPipeError, match="of a simulator"):
            answered(fail)
