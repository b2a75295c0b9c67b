"""Holds the fast step of Meta-World to stock's: the same episodes on both, every float compared. Used by tests and by hand.

By hand, while porting a task: ``python -m tests.simulators.identity push-v3 hammer-v3 --steps 2000``.
"""

import argparse
import sys
import zlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulators.metaworld import stock
from simulators.metaworld.fast import FastStep
from simulators.metaworld.tasks import TASKS

EPISODE = 250
"""env steps; stock allows 500"""


def vectors(task: str, count: int) -> list[NDArray[np.float64]]:
    """Goals drawn by stock."""
    env = stock.environment(task, "v2", hide_goal=False)
    return [stock.draw(env, 1000 + i) for i in range(count)]


def scripted(task: str, rng: np.random.Generator) -> Callable[[NDArray, int], NDArray]:
    """Meta-World's own policy, a little noisy: it grasps and succeeds, where rewards have their rare branches."""
    from metaworld.policies import ENV_POLICY_MAP

    policy = ENV_POLICY_MAP[task]()
    return lambda obs, t: np.clip(policy.get_action(obs) + 0.05 * rng.normal(size=4), -1, 1)


def uniform(task: str, rng: np.random.Generator) -> Callable[[NDArray, int], NDArray]:
    """Uniform in all directions."""
    return lambda obs, t: rng.uniform(-1, 1, 4)


def jitter(task: str, rng: np.random.Generator) -> Callable[[NDArray, int], NDArray]:
    """Saturated, beyond the limits, changing sign at every step or pushing to one corner for long."""
    return lambda obs, t: np.where(t // 50 % 2, (-1.0) ** t, np.sign(rng.normal(size=4))) * (1.0 + t % 3 * 0.5)


def lazy_script(task: str, rng: np.random.Generator) -> Callable[[NDArray, int], NDArray]:
    """Half of a scripted episode, then random: drops what it holds and comes back to it."""
    good, bad = scripted(task, rng), uniform(task, rng)
    return lambda obs, t: good(obs, t) if t % 100 < 60 else bad(obs, t)


POLICIES = (scripted, uniform, lazy_script, jitter)


class Comparison(NamedTuple):
    """What was compared, and every way in which the two differ, in words; at most one per episode."""

    steps: int
    """env steps, of which observation, reward, success and truncation were equal"""
    successes: int
    """of these steps"""
    rewards: int
    """different rewards among them"""
    found: list[str]


def compare(
    task: str, reward_version: str, steps: int, *, hide_goal: bool = False, goals: int = 4, episode_steps: int = EPISODE
) -> Comparison:
    """Steps both for ``steps`` env steps. Every policy meets every goal if there are enough episodes: goals x policies."""
    fast = FastStep(task, stock.Stepping(reward_version, reward_version, hide_goal, horizon=episode_steps))
    env = stock.environment(task, reward_version, hide_goal=hide_goal)
    drawn = vectors(task, goals)
    equal: list[tuple[float, bool]] = []
    found = []
    for episode in range(-(-steps // episode_steps)):
        policy, goal = POLICIES[episode % len(POLICIES)], drawn[(episode + episode // len(POLICIES)) % goals]
        rng = np.random.default_rng([zlib.crc32(task.encode()), episode])
        said = _episode(fast, env, goal, policy(task, rng), episode_steps, equal)
        if said:
            found.append(f"{task} {reward_version} episode {episode} ({policy.__name__}): {said}")
    fast.close()
    return Comparison(len(equal), sum(success for _, success in equal), len({reward for reward, _ in equal}), found)


def _episode(fast: FastStep, env: object, vector: NDArray, act: Callable, steps: int, equal: list[tuple[float, bool]]) -> str:
    """What differs first, in words; until then (reward, success) of the steps go to ``equal``."""
    first, again = stock.begin(env, vector), fast.begin(vector)
    if not np.array_equal(first, again):
        return f"first observation differs at {np.flatnonzero(first != again)}"
    obs = first
    for t in range(steps):
        action = act(obs, t).astype(np.float32)
        obs, reward, _, truncated, info = env.step(action)  # type: ignore[attr-defined]
        ours, our_reward, our_success, our_truncated = fast.step(action)
        if not np.array_equal(obs, ours):
            at = np.flatnonzero(obs != ours)
            return f"step {t}: observation differs at {at}: stock {obs[at]}, fast {ours[at]}"
        if float(reward) != our_reward:
            return f"step {t}: reward of stock {float(reward)!r}, fast {our_reward!r}"
        if bool(info["success"]) != our_success:
            return f"step {t}: success of stock {info['success']}, fast {our_success}"
        if truncated or our_truncated != (t == steps - 1):
            return f"step {t}: truncated {our_truncated}"
        equal.append((our_reward, our_success))
    return ""


def markdown(found: dict[tuple[str, str], Comparison]) -> str:
    """A line per task."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("metaworld", "mujoco", "numpy", "scipy"))
    lines = [
        "# Bit-identity with stock, task by task",
        "",
        f"Written by `python -m tests.simulators.identity --markdown docs/metaworld_identity.md`; {packages}.",
        "Equal steps: env steps in which observation (39 float64), reward, success and truncation of the fast step equalled stock's as",
        "floats; 16 episodes of 250 steps per reward version: scripted, half scripted, random and saturated actions, each on four goals.",
        "Rewards: how many different ones these steps had. A task that differs is stepped by stock.",
        "",
        "| task | verdict | v1: equal steps | with success | rewards | v2: equal steps | with success | rewards |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for task in dict.fromkeys(task for task, _ in found):
        both = [found[task, "v1"], found[task, "v2"]]
        cells = " | ".join(f"{c.steps:,} | {c.successes:,} | {c.rewards:,}" for c in both)
        lines.append(f"| {task} | {'DIFFERS' if any(c.found for c in both) else 'equal'} | {cells} |")
    return "\n".join([*lines, ""])


def main() -> int:
    """Prints what differs, or that nothing does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", nargs="*", default=TASKS)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--version", choices=["v1", "v2"])
    parser.add_argument("--markdown", type=Path, help="writes a table of all that was compared")
    options = parser.parse_args()
    compared = {}
    for task in options.tasks:
        for of in [options.version] if options.version else ["v1", "v2"]:
            one = compared[task, of] = compare(task, of, options.steps)
            sys.stdout.write("".join(f"DIFFERS {line}\n" for line in one.found) or f"identical {task} {of}, {one.steps} steps\n")
            sys.stdout.flush()
    if options.markdown:
        options.markdown.write_text(markdown(compared))
    return int(any(one.found for one in compared.values()))


if __name__ == "__main__":
    sys.exit(main())
