"""``manyhands doctor --sim NAME``: whether a simulator works here, by making, resetting and stepping it; and what it needs before that."""

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import simulators
from core.errors import ConfigError, ManyhandsError, MissingExtra
from manyhands.doctor import Check

LAUNCH_S, CALL_S = 180.0, 60.0
"""Longest that making one, and a reset or step, may take: a simulator that is read from a cold disk is slow."""
USUAL = {"gym": "Pendulum-v1", "metaworld": "reach-v3", "metaworld_vision": "reach-v3", "rlbench": "reach_target"}
"""the task that stands for all; else it is the first"""
LAST_WORDS = 600
"""characters of what a simulator says at its end"""


class Probe(NamedTuple):
    """One question, and those that must be answered well before it makes sense."""

    name: str
    ask: Callable[[], Check]
    needs: tuple[str, ...] = ()


def examine(name: str) -> list[Check]:
    """All that can be found out about a simulator (``metaworld``), or one of its tasks (``metaworld:push-v3``).

    Raises:
        ConfigError: there is no such simulator or task.
    """
    task = task_of(name)
    simulator = task.partition(":")[0]
    if simulator == "rlbench":
        from manyhands.doctor_rlbench import probes

        before = probes()
    elif simulator == "metaworld_vision":
        from manyhands.machine import pictures_check

        before = [Probe("pictures", pictures_check)]
    else:
        before = []
    works = Probe(task, lambda: played(task), tuple(probe.name for probe in before))
    return answers([*before, works])


def next_command(name: str) -> str:
    """What a person may do with a simulator that works."""
    task = task_of(name)
    return f"manyhands demos collect {task} -n 5" if task.startswith(("rlbench:", "metaworld_vision:", "blocks:")) else "manyhands presets"


def task_of(name: str) -> str:
    """``metaworld`` -> ``metaworld:reach-v3``; a task stays what it is.

    Raises:
        ConfigError: there is no such simulator or task.
    """
    if ":" not in name:
        name = f"{name}:{USUAL.get(name) or next(iter(simulators.tasks_of(name)), '')}"
    simulators.check(name)
    return name


def answers(probes: Iterable[Probe]) -> list[Check]:
    """The findings in turn. What needs something that failed is not tried: it would fail, too, and tell nothing."""
    found: list[Check] = []
    causes: dict[str, list[str]] = {}
    """what cannot be relied on -> what failed first"""
    for probe in probes:
        bad = list(dict.fromkeys(cause for name in probe.needs for cause in causes.get(name, ())))
        check = Check(probe.name, "skip", f"needs {', '.join(bad)}") if bad else _answer(probe)
        if check.status in ("fail", "skip"):
            causes[probe.name] = bad or [probe.name]
        found.append(check)
    return found


def _answer(probe: Probe) -> Check:
    try:
        return probe.ask()
    except ManyhandsError as error:
        return Check(probe.name, "fail", str(error))
    except OSError as error:
        return Check(probe.name, "fail", f"the check broke off: {error}")


def played(task: str) -> Check:
    """Makes one, resets and steps it, in a process with deadlines, as a run does."""
    import numpy as np

    from core.poses import action_of
    from simulators.pool import SimulatorPool

    began = time.monotonic()
    limits = {"launch_timeout_s": LAUNCH_S, "reset_timeout_s": CALL_S, "step_timeout_s": CALL_S, "max_failures": 1, "quarantine_after": 0}
    try:
        with SimulatorPool(task, [0], **limits) as pool:
            made = time.monotonic()
            pool.reset([0])
            reset = time.monotonic()
            action = np.zeros(pool.spec.action_dim, np.float32)
            if pool.spec.keyframes is not None:  # a pose without a rotation would not get as far as the simulator
                action = action_of(pool.spec.keyframes, pool.obs["gripper_pose"][0], 1.0)
                action[:3] *= 0.8  # towards the middle: a way of no length is none that a planner can be asked for
            pool.step(action[None])
            took = f"made in {made - began:.1f} s, reset {_ms(reset - made)}, step {_ms(time.monotonic() - reset)}"
    except MissingExtra as error:
        return Check(task, "fail", "its package is not installed", str(error))
    except ConfigError as error:
        return Check(task, "fail", str(error))
    except ManyhandsError as error:
        first, _, words = str(error).partition("; its last words:\n")
        fix = "see its last words above, and docs/troubleshooting.md"
        return Check(task, "fail", f"{first}\n{words[-LAST_WORDS:]}".strip(), fix)
    return Check(task, "ok", took)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"
