"""``rlbench:...`` as a simulator among others: what is known without RLBench, errors, demonstrations, pools. On the double."""

import sys

import numpy as np
import pytest

import simulators
from core.abilities import Demonstrating
from core.demos import chains, check
from core.errors import ConfigError, MissingExtra, SimulatorError
from core.poses import action_of
from simulators import rlbench
from simulators.pool import SimulatorPool

SMALL = {"size": 24}


@pytest.fixture
def nothing(monkeypatch):
    """Whatever is installed here, RLBench is not."""
    monkeypatch.setattr("outpost.rlbench_tasks._folder", lambda: None)


def test_what_it_will_be_is_known_without_rlbench(nothing):
    spec = rlbench.spec("stack_wine", {"cameras": 3, "collisions": True, "horizon": 6})
    assert (spec.task, spec.action_dim, spec.horizon) == ("rlbench:stack_wine", 9, 6)
    assert spec.keyframes is not None
    assert spec.keyframes.cameras == ("front", "left_shoulder", "right_shoulder") and spec.keyframes.collisions
    assert spec == rlbench.spec("stack_wine", rlbench.Options(cameras="front,left_shoulder,right_shoulder", collisions=True, horizon=6))
    assert "restart_mb" not in dict(spec.labels)
    simulators.check("rlbench:hannoi_square", {"cameras": ["front", "wrist"]})
    assert len(simulators.tasks_of("rlbench")) == 108


def test_without_rlbench_one_is_told_what_to_read(nothing):
    with pytest.raises(MissingExtra, match=r"docs/rlbench\.md"):
        simulators.make("rlbench:reach_target", 0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cameras": "frnt"}, "option 'cameras' of simulator rlbench is 'frnt'. Allowed: 1 to 5, or names"),
        ({"cameras": 6}, "Allowed: 1 to 5"),
        ({"cameras": None}, "Allowed: 1 to 5"),
        ({"size": 4}, "Allowed: 8 to 1024"),
        ({"variation": -2}, "Allowed: -1 to"),
        ({"arm": "both"}, "Allowed: planning, ik"),
        ({"arm": "ik", "collisions": True}, "False with arm ik"),
        ({"restart_episodes": -1}, "Allowed: 0 and up"),
        ({"penalties": 1.0}, "Perhaps you meant 'penalty'"),
    ],
)
def test_a_mistake_is_one_clear_line(nothing, options, says):
    with pytest.raises(ConfigError) as error:
        simulators.check("rlbench:reach_target", options)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_checking_loads_no_rlbench(rlbench_double):
    simulators.check("rlbench:reach_target", {"cameras": 2})
    with pytest.raises(ConfigError, match="unknown task of simulator rlbench 'stack_wine'"):
        simulators.check("rlbench:stack_wine")
    assert not {"rlbench", "pyrep"} & set(sys.modules)


def test_the_simulator_is_what_was_promised(rlbench_variants):
    for options in ({}, {"cameras": 2, "variation": 3, "penalty": -1.0, "restart_episodes": 7}):
        simulator = simulators.make("rlbench:reach_target", 0, **SMALL, **options)
        assert simulator.spec == rlbench.spec("reach_target", {**SMALL, **options})
        simulator.close()


def test_it_demonstrates_and_its_keyframes_succeed(rlbench_variants):
    simulator = simulators.make("rlbench:push_buttons", 1, **SMALL)
    assert isinstance(simulator, Demonstrating)
    demo = simulator.demonstrate(3)
    check(demo, simulator.spec)
    assert demo.task == "rlbench:push_buttons" and demo.success and len(chains(demo)) > 2
    simulator.reset(3)
    keyframes = simulator.spec.keyframes
    steps = [
        simulator.step(action_of(keyframes, demo.motion["gripper_pose"][frame], demo.motion["gripper_open"][frame]))
        for frame in demo.keyframes
    ]
    assert steps[-1].success and steps[-1].terminated and steps[-1].reward == 1.0


def test_failures_come_as_the_simulators_own(rlbench_double):
    simulator = simulators.make("rlbench:stack_chairs", 0)
    with pytest.raises(SimulatorError, match="rlbench:stack_chairs: stack_chairs cannot be placed in episode 0") as error:
        simulator.reset(0)
    assert error.value.retryable
    with pytest.raises(SimulatorError, match="call reset before step") as error:
        simulator.step(np.zeros(8, np.float32))
    assert not error.value.retryable
    simulator.close()
    for options, says in (({"variation": 77}, "4 variations"), ({}, "no class WipeDesk")):
        with pytest.raises(ConfigError, match=says):
            simulators.make("rlbench:reach_target" if options else "rlbench:wipe_desk", 0, **options)
    rlbench_double.script({"at": "launch", "every": True, "do": "RuntimeError: no"})
    with pytest.raises(SimulatorError, match="does not launch") as error:
        simulators.make("rlbench:reach_target", 0)
    assert error.value.retryable


def test_what_fails_together_is_one_variation():
    assert rlbench.kind({"variation": 4}, 9) == rlbench.kind(rlbench.Options(variation=4), 11) == "variation 4"
    assert rlbench.kind({"variation": -1}, 9) == "episode 9"


def test_the_environment_of_a_child_is_offered(rlbench_double, monkeypatch):
    monkeypatch.delenv("LD_LIBRARY_PATH")
    root = rlbench_double.folder / "CoppeliaSim_Edu_V4_1_0_Ubuntu20_04"
    assert rlbench.environment()["LD_LIBRARY_PATH"] == str(root) and rlbench.ONE_PER_PROCESS is True


@pytest.mark.parametrize("fault", ["crash", "exit"])
def test_a_pool_outlives_a_simulator_that_dies(rlbench_double, fault):
    rlbench_double.script({"at": "step", "nth": 1, "do": fault, "once": str(rlbench_double.folder / "died")})
    with SimulatorPool("rlbench:reach_target", [0], SMALL) as pool:
        pool.reset([0])
        lost = []
        for i in range(4):
            pose = pool.obs["gripper_pose"][0] - [0, 0, 0.02 * i, 0, 0, 0, 0]
            assert pool.spec.keyframes is not None
            lost.append(bool(pool.step(action_of(pool.spec.keyframes, pose, 1.0)[None]).lost[0]))
    assert lost == [False, True, False, False]


def test_demonstrations_depend_on_what_they_show_only():
    assert rlbench.of_demos({"cameras": 1, "penalty": -1.0, "restart_episodes": 3, "horizon": 5}) == {}
    assert rlbench.of_demos({"cameras": 2}) == rlbench.of_demos({"cameras": "front,left_shoulder"}) != {}
    assert rlbench.of_demos({"size": 64, "variation": 2}) == {"size": 64, "variation": 2}
