"""The peer of ``bench/end_to_end.py``: Stable-Baselines3's SAC on our simulators. ``python e2e_sb3.py SETTINGS EVENTS``.

Runs in the peers' environment. It writes one line of JSON per event, with the time of day: ``ready``, ``training``, ``evaluation``.
"""

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize

import simulators

NO_END = 10_000_000


class Simulated(gymnasium.Env):
    """One of our simulators as an environment. Episodes are its variations 0, 1, 2 ...; an evaluation always plays number 0."""

    def __init__(self, task: str, seed: int, options: dict[str, Any], reward_scale: float, evaluation: bool) -> None:
        self.simulator = simulators.make(task, seed, **options)
        spec = self.simulator.spec
        self.observation_space = Box(-np.inf, np.inf, (spec.obs_dim,), np.float32)
        self.action_space = Box(-1, 1, (spec.action_dim,), np.float32)
        self.reward_scale, self.evaluation, self.variation, self.success = reward_scale, evaluation, -1, False

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        self.variation = 0 if self.evaluation else self.variation + 1
        self.success = False
        return self.simulator.reset(self.variation)["obs"], {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        step = self.simulator.step(action)
        self.success |= step.success
        info = {"is_success": self.success, "success_last": step.success}
        return step.obs["obs"], step.reward * self.reward_scale, step.terminated, step.truncated, info


def vector(kind: str, task: str, seeds: list[int], options: dict[str, Any], reward_scale: float, evaluation: bool) -> VecEnv:
    makers = [partial(Simulated, task, seed, options, reward_scale, evaluation) for seed in seeds]
    return DummyVecEnv(makers) if kind == "dummy" else SubprocVecEnv(makers, start_method="fork")


class Model(SAC):
    """SAC as shipped, with a step size of its own for every optimizer; it tells when training begins."""

    rates: tuple[float, float, float]
    began: Any = None

    def _update_learning_rate(self, optimizers: list[torch.optim.Optimizer]) -> None:
        for optimizer, rate in zip(optimizers, self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        if self.began is not None:
            self.began()
            self.began = None
        super().train(gradient_steps, batch_size)


class Watch(BaseCallback):
    """Evaluates when the env steps of ``every_steps`` are there; ends the run at the target (0: never), or after a probe."""

    def __init__(self, settings: dict[str, Any], evaluation: VecEnv, tell: Any) -> None:
        super().__init__()
        self.every, self.target = settings["evaluation"]["every_steps"], settings["evaluation"]["target"]
        self.probe_end = settings["learning_starts"] + settings["probe_steps"] if settings["probe_steps"] else 0
        self.evaluation, self.tell, self.next = evaluation, tell, self.every

    def _on_step(self) -> bool:
        if self.probe_end:
            return self.num_timesteps < self.probe_end or bool(self.evaluate())
        if self.num_timesteps < self.next:
            return True
        self.next = (self.num_timesteps // self.every + 1) * self.every
        share = self.evaluate()
        return not self.target or share < self.target

    def evaluate(self) -> float:
        """Share of the episodes with a success at some step. Returns 0 after a probe, which ends it."""
        successes: list[bool] = []
        lasts: list[bool] = []

        def count(local: dict[str, Any], _: dict[str, Any]) -> None:
            if local["done"]:
                successes.append(local["info"]["is_success"])
                lasts.append(local["info"]["success_last"])

        began, n = time.time(), self.evaluation.num_envs
        mean_return, _ = evaluate_policy(self.model, self.evaluation, n_eval_episodes=n, deterministic=True, callback=count, warn=False)
        share, updates = float(np.mean(successes)), self.model._n_updates
        more = {"success_last": float(np.mean(lasts)), "return": float(mean_return)}
        self.tell("evaluation", steps=self.num_timesteps, updates=updates, success=share, episodes=len(successes), began=began, **more)
        return 0.0 if self.probe_end else share


def make(settings: dict[str, Any], tell: Any) -> tuple[Model, Watch]:
    algo, evaluation = settings["algo"], settings["evaluation"]
    task, scale = settings["task"], algo["reward_scale"]
    evaluated = vector("dummy", task, evaluation["simulators"], evaluation["options"], scale, True)  # first: its model is forked along
    env = vector(settings["vector"], task, settings["simulators"], settings["options"], scale, False)
    if algo["normalize_obs"]:
        env = VecNormalize(env, norm_obs=True, norm_reward=False)
        evaluated = VecNormalize(evaluated, training=False, norm_obs=True, norm_reward=False)
        evaluated.obs_rms = env.obs_rms  # the same object: always in step
    model = Model(
        "MlpPolicy",
        env,
        learning_rate=algo["policy_lr"],
        buffer_size=settings["buffer_size"],
        learning_starts=settings["learning_starts"],
        batch_size=algo["batch_size"],
        tau=algo["tau"],
        gamma=algo["gamma"],
        train_freq=settings["train_freq"],
        gradient_steps=settings["gradient_steps"],
        n_steps=algo["n_step"],
        ent_coef=f"auto_{algo['initial_alpha']}",
        target_entropy=-algo["target_entropy_scale"] * env.action_space.shape[0],
        policy_kwargs={"net_arch": list(algo["hidden"])},
        seed=settings["seed"],
        device="cpu",
    )
    model.rates = (algo["policy_lr"], algo["critic_lr"], algo["alpha_lr"])
    model.began = partial(tell, "training")
    return model, Watch(settings, evaluated, tell)


def main() -> None:
    settings, events = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    if settings["threads"]:
        torch.set_num_threads(settings["threads"])

    def tell(event: str, **more: Any) -> None:
        with events.open("a") as file:
            file.write(json.dumps({"event": event, "time": time.time(), **more}) + "\n")

    model, watch = make(settings, tell)
    tell("ready")
    model.learn(settings.get("total_steps", NO_END), callback=watch, log_interval=None)
    tell("end", steps=model.num_timesteps, updates=model._n_updates)
    model.env.close()
    watch.evaluation.close()


if __name__ == "__main__":
    main()
