"""Benchmarks of learning by keyframes from images, as data: eleven tasks, of which one at a time is held out, and few demonstrations.

``RLBENCH`` is the one of "On the Effectiveness of Fine-tuning Versus Meta-reinforcement Learning"; ``META_WORLD`` has its shape with
tasks of Meta-World, which need no simulator beside MuJoCo. docs/metaworld_vision.md says how those were chosen.
"""

from dataclasses import dataclass, field
from typing import Any

from core.errors import unknown


@dataclass(frozen=True)
class CrossValidation:
    """Train on all tasks but one, then learn that one: by fine-tuning, by adapting, or from nothing."""

    name: str
    tasks: tuple[str, ...]
    """``metaworld_vision:reach-v3``, all of them"""
    held_out: tuple[str, ...]
    """those that are held out in turn, each of which is a split"""
    demos: int = 5
    """demonstrations per training task"""
    test_demos: tuple[int, ...] = (0, 1, 2)
    """demonstrations of the held-out task: each is an experiment of its own"""
    horizon: int = 10
    """keyframes per episode"""
    evaluation_episodes: int = 30
    """per evaluation of the held-out task"""
    seeds: int = 5
    """of which results are the mean"""
    camera: str = "front"
    train: dict[str, Any] = field(default_factory=dict)
    """further options of the simulator while training"""
    test: dict[str, Any] = field(default_factory=dict)
    """and on the held-out task"""
    demo_seed: int = 0
    """demonstrations are by simulators of this seed, of variations 0, 1 ..."""

    def train_tasks(self, held_out: str) -> tuple[str, ...]:
        """What is trained on where ``held_out`` is not.

        Raises:
            ConfigError: it is none of the splits.
        """
        if held_out not in self.held_out:
            raise unknown(f"split of {self.name}", held_out, self.held_out)
        return tuple(task for task in self.tasks if task != held_out)

    def options(self, split: str) -> dict[str, Any]:
        """Simulator options of ``train`` or of ``test``.

        Raises:
            ConfigError: it is neither.
        """
        if split not in ("train", "test"):
            raise unknown("split of a protocol", split, ("train", "test"))
        return {"cameras": self.camera, "horizon": self.horizon, **(self.train if split == "train" else self.test)}


def _named(simulator: str, names: str, suffix: str = "") -> tuple[str, ...]:
    return tuple(f"{simulator}:{name}{suffix}" for name in names.split())


RLBENCH = CrossValidation(
    name="rlbench-11",
    tasks=_named(
        "rlbench",
        "pick_up_cup phone_on_base pick_and_lift put_rubbish_in_bin push_button reach_target lamp_on take_lid_off_saucepan stack_wine "
        "open_door take_usb_out_of_computer",
    ),
    held_out=_named("rlbench", "pick_up_cup push_button pick_and_lift lamp_on take_lid_off_saucepan"),
)
"""Variation 0 of each task, as in the paper: what a task asks for stays, where its objects are does not."""

META_WORLD = CrossValidation(
    name="metaworld-vision-11",
    tasks=_named(
        "metaworld_vision",
        "reach push pick-place button-press-topdown door-close door-unlock faucet-open window-close plate-slide peg-insert-side box-close",
        "-v3",
    ),
    held_out=_named("metaworld_vision", "button-press-topdown door-close faucet-open pick-place peg-insert-side", "-v3"),
    train={"goals": 50, "split": "train", "order": "drawn"},
    test={"goals": 30, "split": "test", "order": "in_turn"},
)
"""30 frozen test goals, each once. What is learned of the held-out task is learned on its training goals (``options("train")``)."""

RESERVES = _named("metaworld_vision", "disassemble handle-press coffee-button stick-push", "-v3")
"""tasks that could stand in for one of the eleven"""
BENCHMARKS = {benchmark.name: benchmark for benchmark in (RLBENCH, META_WORLD)}
