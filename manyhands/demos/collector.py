"""The process that collects demonstrations: it makes one simulator, and writes one file for each line of its orders.

What the simulator finds wrong in an episode is answered; whatever else goes wrong ends the process, and the parent acts.
"""

import datetime
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import simulators
from core import demofile
from core.abilities import Demonstrating
from core.contracts import Simulator
from core.demos import Demo, check
from core.errors import ConfigError, DemoError, ManyhandsError, SimulatorError
from core.poses import action_of
from manyhands import __version__
from manyhands.demos.collect import STRIDE
from manyhands.seed_process import end_with_parent

PACKAGES = ("numpy", "mujoco", "metaworld")


def main() -> None:
    """The first line of stdin says which simulator, each further one which variation and which file."""
    with _answers() as answer:
        order = json.loads(sys.stdin.readline())
        end_with_parent(order["parent"])
        try:
            simulator = made(order["task"], order["seed"], order["options"])
        except ManyhandsError as error:
            if not final(error):
                raise
            answer({"fatal": str(error)})
            return
        answer({"ready": True})
        for line in sys.stdin:
            asked = json.loads(line)
            try:
                demo = demonstrated(simulator, asked["variation"], replay=order["replay"])
                demofile.write(Path(asked["path"]), with_provenance(demo, order, asked))
                answer({"done": True})
            except (SimulatorError, DemoError) as error:
                answer({"failed": str(error)})
        simulator.close()


def final(error: ManyhandsError) -> bool:
    """Whether no other process could make the simulator either; otherwise this one ends with its failure, which counts as a try."""
    return not (isinstance(error, SimulatorError) and error.retryable)


def made(task: str, seed: int, options: Mapping[str, Any]) -> Any:
    """The simulator, a ``Demonstrating`` one.

    Raises:
        ConfigError: it is unknown or cannot demonstrate.
    """
    simulator = simulators.make(task, seed, **options)
    if not isinstance(simulator, Demonstrating) or simulator.spec.keyframes is None:
        raise ConfigError(
            f"the simulator of {task} has no expert that demonstrates. Allowed: those with keyframe actions, such as blocks:touch"
        )
    return simulator


def demonstrated(simulator: Any, variation: int, replay: bool) -> Demo:
    """A demonstration that is one, that succeeded and, if ``replay``, whose keyframes lead to success.

    Raises:
        SimulatorError, DemoError: it is not, it did not, or they do not.
    """
    demo: Demo = simulator.demonstrate(variation)
    check(demo, simulator.spec)
    if not demo.success:
        raise DemoError(f"the demonstration of {demo.task} in variation {variation} did not succeed")
    if replay and not replayed(simulator, demo, variation):
        raise DemoError(f"the keyframes of the demonstration of {demo.task} in variation {variation} do not lead to success")
    return demo


def replayed(simulator: Simulator, demo: Demo, variation: int) -> bool:
    """Whether an episode succeeds that goes from keyframe to keyframe."""
    assert simulator.spec.keyframes is not None
    poses, opened = demo.motion["gripper_pose"][demo.keyframes], demo.motion["gripper_open"][demo.keyframes]
    actions = demo.actions
    if actions is None:
        actions = [action_of(simulator.spec.keyframes, pose, one) for pose, one in zip(poses, opened, strict=True)]
    simulator.reset(variation)
    for action in actions:
        step = simulator.step(action)
        if step.terminated or step.truncated or step.success:
            return step.success
    return False


def with_provenance(demo: Demo, order: Mapping[str, Any], asked: Mapping[str, Any]) -> Demo:
    """The demonstration, and how it came about."""
    now, variation = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), asked["variation"]
    told = {"made_by": "manyhands demos collect", "manyhands": __version__, "created": now, "replayed": "yes" if order["replay"] else "no"}
    made = {"seed": str(order["seed"]), "variation": str(variation), "options": json.dumps(order["options"], sort_keys=True)}
    return demo._replace(info={**versions(), **demo.info, **told, **made, "tries": str(variation // STRIDE + 1)})


def versions() -> dict[str, str]:
    """Of Python and of what this process simulates with; a simulator that knows better says so in its demonstrations."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES if name in sys.modules}


@contextmanager
def _answers() -> Iterator[Any]:
    """What answers the parent, on what was stdout; whatever a simulator prints goes to the log instead."""
    with os.fdopen(os.dup(1), "w") as line:
        os.dup2(2, 1)

        def answer(tree: dict[str, Any]) -> None:
            line.write(json.dumps(tree) + "\n")
            line.flush()

        yield answer


if __name__ == "__main__":
    main()
