"""Holds the fast step of Meta-World to stock's: the same episodes on both, every float compared. Used by tests and by hand.

By hand, while porting a task: ``python -m tests.simulators.identity push-v3 hammer-v3 --steps 2000``.
"""

import argparse
import sys
import zlib
from collections.abc import Callable, Iterator

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


def differences(
    task: str, reward_version: str, steps: int, *, hide_goal: bool = False, goals: int = 4, episode_steps: int = EPISODE
) -> Iterator[str]:
    """Every way in which the two differ, in words; at most one per episode. Steps both for ``steps`` env steps.

    Every policy meets every goal if there are enough episodes: goals x policies.
    """
    fast = FastStep(task, stock.Stepping(reward_version, reward_version, hide_goal, horizon=episode_steps))
    env = stock.environment(task, reward_version, hide_goal=hide_goal)
    drawn = vectors(task, goals)
    for episode in range(-(-steps // episode_steps)):
        policy, goal = POLICIES[episode % len(POLICIES)], drawn[(episode + episode // len(POLICIES)) % goals]
        rng = np.random.default_rng([zlib.crc32(task.encode()), episode])
        found = _episode(fast, env, goal, policy(task, rng), episode_steps)
        if found:
            yield f"{task} {reward_version} episode {episode} ({policy.__name__}): {found}"
    fast.close()


def _episode(fast: FastStep, env: object, vector: NDArray, act: Callable, steps: int) -> str:
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
    return ""


def main() -> int:
    """Prints what differs, or that nothing does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", nargs="*", default=TASKS)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--version", choices=["v1", "v2"])
    options = parser.parse_args()
    bad = 0
    for task in options.tasks:
        for version in [options.version] if options.version else ["v1", "v2"]:
            found = list(differences(task, version, options.steps))
            bad += bool(found)
            sys.stdout.write("".join(f"DIFFERS {line}\n" for line in found) or f"identical {task} {version}, {options.steps} steps\n")
            sys.stdout.flush()
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
