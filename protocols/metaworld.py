"""The protocols of Meta-World as data: MT1, MT10, MT50, ML1, ML10, ML45, each in two settings. What presets and evaluators play.

``2019`` is the paper as published (Yu et al., Meta-World, section 4.3 and appendix E), ``v3`` what Meta-World 3 and the papers that use
it do. Where the paper is silent, ``notes`` say what stands in. docs/metaworld.md has the tables.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from core.errors import unknown
from protocols.metaworld_2019 import EPSILON
from protocols.schedule import Schedule
from simulators.metaworld.tasks import TASKS

Setting = Literal["2019", "v3"]
SETTINGS: tuple[Setting, Setting] = ("2019", "v3")


def _v3(names: str) -> tuple[str, ...]:
    return tuple(f"{name}-v3" for name in names.split())


MT10 = _v3("reach push pick-place door-open drawer-open drawer-close button-press-topdown peg-insert-side window-open window-close")
ML10_TRAIN = _v3("reach push pick-place door-open drawer-close button-press-topdown peg-insert-side window-open sweep basketball")
ML10_TEST = _v3("drawer-open door-close shelf-place sweep-into lever-pull")
ML45_TEST = _v3("bin-picking box-close hand-insert door-lock door-unlock")
ML45_TRAIN = tuple(task for task in TASKS if task not in ML45_TEST)
_SUITES = {"mt10": (MT10, MT10), "mt50": (TASKS, TASKS), "ml10": (ML10_TRAIN, ML10_TEST), "ml45": (ML45_TRAIN, ML45_TEST)}
"""name -> tasks to train on, tasks to be judged on"""
_SINGLE = {f"{kind}-{task}": ((task,), (task,)) for kind in ("mt1", "ml1") for task in TASKS}

STAND_INS = {
    "mt": (
        "The fixed goal is the first frozen training goal; the paper does not give its own.",
        "Episodes per evaluation are not stated: 1, since a deterministic policy repeats itself.",
    ),
    "mt1": ("The paper has no MT1: this is MT50 of one task.",),
    "mt10": ("The paper's text lists 'open box' where v3 has window-close, which is played here; its Table 2 has no open box.",),
    "ml": (
        "Evaluation episodes per goal are not stated: 1.",
        "Adaptation is by 10 trajectories, appendix D.",
    ),
    "ml1": ("The paper evaluates reach, push and pick-place only.",),
    "ml10": ("The paper's text names no tasks: those of v3. 50 and 10 goals per task are stated for ML1 only.",),
    "ml45": ("The paper's text names no tasks: those of v3. 50 and 10 goals per task are stated for ML1 only.",),
}
"""what the setting 2019 takes from elsewhere; ``mt`` and ``ml`` hold for all of the kind"""


@dataclass(frozen=True)
class Protocol:
    """What is trained on, what is judged on, and what the policy may see. ``options`` turns it into simulator options."""

    name: str
    setting: Setting
    train_tasks: tuple[str, ...]
    """``metaworld:reach-v3``; where ``one_hot``, a task's index here is its one"""
    test_tasks: tuple[str, ...]
    """multi-task: the training tasks"""
    train_goals: int
    """per task, the first so many of the frozen split ``train``"""
    test_goals: int
    """per task, the first so many of the frozen split ``test_split``"""
    test_split: Literal["train", "test"]
    """multi-task is judged on the goals that it trained on, meta-learning on others"""
    horizon: int
    """env steps per episode"""
    hide_goal: bool
    reward_version: Literal["v1", "v2"]
    """success is always judged by v2's rules: stock's under v1 are others, two tasks could never succeed; see docs/metaworld.md"""
    one_hot: bool
    """the policy is told which task it is in"""
    adaptation_episodes: int
    """per test goal, before the policy is judged; 0: no adaptation"""
    evaluation_episodes: int
    """per test goal, of a policy that does not adapt"""
    epsilon: tuple[tuple[str, float], ...] = ()
    """2019: (test task, radius in metres) of the paper's Table 4. For the reader: success is what the simulator says"""
    notes: tuple[str, ...] = ()

    @property
    def schedule(self) -> Schedule:
        """What is played with one test goal. A look is one episode: a deterministic policy repeats itself."""
        adaptation = self.adaptation_episodes
        return Schedule.looked_at(adaptation) if adaptation else Schedule(evaluation=self.evaluation_episodes)

    def options(self, split: str) -> dict[str, Any]:
        """Simulator options of the training or of the test tasks. All goals of a test are played in turn, a trial of each.

        Raises:
            ConfigError: ``split`` is neither ``train`` nor ``test``.
        """
        if split not in ("train", "test"):
            raise unknown("split of a protocol", split, ("train", "test"))
        common = {"reward": "dense", "reward_version": self.reward_version, "horizon": self.horizon, "hide_goal": self.hide_goal}
        common["success_rule"] = "v2"
        if split == "train":
            return {**common, "split": "train", "goals": self.train_goals, "order": "drawn", "repeat": 1}
        return {**common, "split": self.test_split, "goals": self.test_goals, "order": "in_turn", "repeat": self.schedule.repeat}


def names() -> tuple[str, ...]:
    """``mt10``, ``mt50``, ``ml10``, ``ml45``, ``mt1-reach-v3`` ..., ``ml1-reach-v3`` ..."""
    return (*_SUITES, *_SINGLE)


def find(name: str, setting: str = "v3") -> Protocol:
    """The protocol of a name in a setting.

    Raises:
        ConfigError: one of them is unknown.
    """
    if name not in names():
        raise unknown("Meta-World protocol", name, names())
    if setting not in SETTINGS:
        raise unknown("Meta-World setting", setting, SETTINGS)
    train, test = _SUITES.get(name) or _SINGLE[name]
    suite, paper = name.partition("-")[0], setting == "2019"
    return Protocol(
        name=name,
        setting="2019" if paper else "v3",
        train_tasks=_named(train),
        test_tasks=_named(test),
        horizon=150 if paper else 500,
        reward_version="v1" if paper else "v2",
        one_hot=suite in ("mt10", "mt50"),
        epsilon=tuple((f"metaworld:{task}", EPSILON[task]) for task in test) if paper else (),
        notes=(*STAND_INS[suite[:2]], *STAND_INS.get(suite, ())) if paper else (),
        **(_multi_task if suite.startswith("mt") else _meta_learning)(paper),
    )


def _multi_task(paper: bool) -> dict[str, Any]:
    goals = 1 if paper else 50
    seen = {"train_goals": goals, "test_goals": goals, "test_split": "train", "hide_goal": False}
    return {**seen, "adaptation_episodes": 0, "evaluation_episodes": 1}


def _meta_learning(paper: bool) -> dict[str, Any]:
    """v3: of the 50 test goals published evaluations play 40, with 3 episodes after adaptation."""
    hidden = {"train_goals": 50, "test_goals": 10 if paper else 40, "test_split": "test", "hide_goal": True}
    return {**hidden, "adaptation_episodes": 10, "evaluation_episodes": 1 if paper else 3}


def _named(tasks: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"metaworld:{task}" for task in tasks)
