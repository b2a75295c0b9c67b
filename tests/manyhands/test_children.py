"""How the end of a run's process is told."""

import pytest

from manyhands.children import describe_end, exit_code
from manyhands.registry import Registry


@pytest.mark.parametrize(
    ("fields", "code", "target", "says"),
    [
        ({"status": "finished", "reason": "steps"}, 0, 0.0, "done"),
        ({"status": "finished", "reason": "target"}, 0, 0.9, "reached the target"),
        ({"status": "finished", "reason": "steps"}, 1, 0.95, "did not reach the target of 95%"),
        ({"status": "stopped", "reason": "stopped", "steps": 1200}, 130, 0.9, "stopped and saved after 1,200 env steps"),
        ({"status": "stopped", "reason": "ended before it began"}, 143, 0.9, "stopped: ended before it began"),
        ({"status": "killed", "steps": 7}, 137, 0.0, "killed by SIGKILL after 7 env steps"),
        ({"status": "failed", "reason": "learner died"}, 2, 0.0, "failed: learner died"),
    ],
)
def test_the_end_in_words(tmp_path, fields, code, target, says):
    registry = Registry(tmp_path)
    row = registry.get(registry.create("tiny", 0))
    plain = {"reason": "", "steps": 0, **fields}
    assert describe_end(row._replace(**plain), code, target) == says


def test_exit_codes_are_those_of_a_shell():
    assert [exit_code(status) for status in (0, 2, -9)] == [0, 2, 137]
