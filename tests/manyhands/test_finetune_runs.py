"""Whole fine-tuning of each kind of algorithm, tiny: what it begins with, at which steps it is judged, before and after adaptation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from algos import maml, pearl, ppo, rl2, sac
from core.errors import ConfigError
from manyhands import build, config_file
from manyhands.finetune import finetune, first_weights
from manyhands.finetune_arguments import FinetuneArguments
from manyhands.registry import Registry
from simulators import bandit, gym, metaworld, navigation, semicircle
from tests.system.tiny import assert_equal, run_through, saved, tiny

ONE = {"actors": 1, "simulators": 2, "random_steps": 0}


def tuned(source: Any, root: Path, capsys, **changes) -> tuple[Path, Any, list[dict], str]:
    """A source run and one that fine-tunes it: their folders and rows, and what was printed."""
    first = run_through(source, root)
    out = root / "rows.jsonl"
    capsys.readouterr()
    assert finetune(FinetuneArguments(first.name, root, episodes=2, out=out, **changes)) == 0
    (new,) = [run for run in Registry(root).list() if run.preset.startswith("finetune")]
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    return first, new, rows, " ".join(capsys.readouterr().out.split())


def check_beginning(first: Path, new: Any) -> None:
    """The first policy is the other run's last."""
    config = config_file.load(new.path / "config.json")
    begun = first_weights(config, build.task_spec(config), new.path).params
    assert_equal(dict(begun), dict(saved(first).components["published"]["params"]))


def points(rows: list[dict]) -> dict[tuple[int, int, bool], list[float]]:
    """(env steps, adaptation episodes before, whether it is a look) -> returns."""
    found: dict[tuple[int, int, bool], list[float]] = {}
    for row in rows:
        found.setdefault((row["settings"]["env_steps"], row["adapted_episodes"], row["look"]), []).append(row["episode_return"])
    return found


def test_rl2_goes_on_and_is_judged_by_its_memory(tmp_path, capsys):
    """A round of the source is 2 trials of 2 episodes of 5 pulls: 20 steps. The new one's is one trial, as the first stage is short."""
    algo = rl2.Config(episodes=2, hidden=8, epochs=1, minibatches=1)
    settings = {"tasks": ("bandit:bernoulli",), "simulator": bandit.Options(arms=3, horizon=5, repeat=2), "algorithm": "rl2", "algo": algo}
    source = tiny(**settings, total_steps=40, actors=ONE, evaluation={"adaptation": 2, "episodes": 1})
    first, new, rows, said = tuned(source, tmp_path, capsys, tasks=("bandit:bernoulli",), steps=(0, 15, 50))
    check_beginning(first, new)
    assert (new.status, new.steps) == ("finished", 50)
    looks = {key: len(returns) for key, returns in points(rows).items() if key[2]}
    assert looks == {(steps, known, True): 2 for steps in (0, 10, 50) for known in (0, 2)}, "10 steps are what 15 have room for"
    assert {row["settings"]["adapts_by"] for row in rows} == {"memory"}
    for part in ("after 2 adaptation episodes", "zero-shot: the same goals", "10 steps", "50 steps", "judged after 10 in place of 15"):
        assert part in said


def test_maml_goes_on_and_is_judged_after_a_gradient_step(tmp_path, capsys):
    algo = maml.Config(hidden=(8,), episodes=2, inner_lr=0.1)
    simulator = navigation.Options(horizon=5, repeat=4)
    settings = {"tasks": ("navigation:point",), "simulator": simulator, "algorithm": "maml", "algo": algo}
    source = tiny(**settings, total_steps=40, actors=ONE, evaluation={"adaptation": 2, "episodes": 1})
    first, new, rows, _ = tuned(source, tmp_path, capsys, tasks=("navigation:point",), steps=(0, 20, 60), adaptation=3)
    own = config_file.load(new.path / "config.json")
    assert own.actors.simulators == 1, "a phase of 2 episodes before the step, one after it: 20 env steps"
    begun = first_weights(own, build.task_spec(own), new.path).params
    theirs = saved(first).components["learner"]["tensors"]
    assert all(np.array_equal(begun[name][0], theirs[f"params.{name}"][0].numpy()) for name in begun)
    looked = points(rows)
    assert {key[:2] for key in looked if key[2]} == {(steps, known) for steps in (0, 20, 60) for known in (0, 3)}
    assert looked[0, 0, True] != looked[0, 3, True], "it adapts"
    assert looked[0, 0, True] != looked[20, 0, True] != looked[60, 0, True], "it has learned"
    assert {row["settings"]["adapts_by"] for row in rows} == {"gradients"}


@pytest.mark.parametrize("method", ["all", "policy", "mixed"])
def test_pearl_goes_on_with_the_goals_of_another_class(method, tmp_path, capsys):
    algo = pearl.Config(hidden=(8,), encoder_hidden=(8,), latent_dim=2, meta_batch=2, batch_size=8, context=8)
    settings = {"simulator": semicircle.Options(train_goals=4, horizon=5), "algorithm": "pearl", "algo": algo}
    trained = tuple(f"semicircle:dense@{goal}" for goal in range(4))
    replay = {"updates_per_step": 0.1, "min_size": 40, "max_lead_steps": 40}
    source = tiny(
        tasks=trained,
        **settings,
        total_steps=80,
        actors={**ONE, "simulators": 1},
        replay=replay,
        evaluation={"adaptation": 1, "episodes": 1},
    )
    first, new, rows, _ = tuned(
        source, tmp_path, capsys, tasks=("semicircle:sparse",), steps=(0, 60), method=method, train_goals=2, critic_warm_up=None
    )
    check_beginning(first, new)
    config = config_file.load(new.path / "config.json")
    assert config.tasks == ("semicircle:sparse@0", "semicircle:sparse@1", *(trained if method == "mixed" else ()))
    assert new.steps == (180 if method == "mixed" else 60)
    looked = points(rows)
    assert {key[:2] for key in looked if key[2]} == {(0, 0), (0, 1), (60, 0), (60, 1)}
    assert {row["task"] for row in rows} == {"semicircle:sparse@0", "semicircle:sparse@1"}
    assert all(len(returns) == 2 for returns in looked.values()), "a trial of each goal"
    begun, ended = first_weights(config, build.task_spec(config), new.path).params, saved(new.path).components["published"]["params"]
    assert all(not np.array_equal(begun[name], ended[name]) for name in ("w0", "encoder_w0")), "it has learned"


def test_ppo_of_two_tasks_goes_on_with_one(tmp_path, capsys):
    """It is told its task; the new one has no one-hot. Two stages that are the same round are judged alike."""
    settings = {"algorithm": "ppo", "algo": ppo.Config(hidden=(8,), episodes=1, epochs=1, minibatches=1)}
    tasks, simulator = ("semicircle:dense", "semicircle:sparse"), semicircle.Options(horizon=5)
    source = tiny(tasks=tasks, simulator=simulator, **settings, total_steps=40, actors=ONE, evaluation={"episodes": 1})
    first, new, rows, said = tuned(source, tmp_path, capsys, tasks=tasks[1:], steps=(0, 10, 12, 30))
    theirs = saved(first).components["published"]["params"]
    own = config_file.load(new.path / "config.json")
    begun = first_weights(own, build.task_spec(own), new.path).params
    assert np.array_equal(begun["w0"], theirs["w0"][:2])
    assert np.array_equal(begun["b0"][0], theirs["w0"][3] + theirs["b0"][0])
    assert new.steps == 30
    looked = points(rows)
    assert {key: len(returns) for key, returns in looked.items()} == {(0, 0, True): 2, (10, 0, True): 4, (30, 0, True): 2}
    assert looked[10, 0, True][:2] == looked[10, 0, True][2:]
    assert "zero-shot" not in said
    assert "adapts_by" not in rows[0]["settings"]


def test_where_no_goal_can_be_kept_nothing_starts(tmp_path):
    settings = {"tasks": ("gym:Pendulum-v1",), "simulator": gym.Options(horizon=5), "algorithm": "rl2"}
    first = run_through(
        tiny(**settings, algo=rl2.Config(episodes=1, hidden=4, epochs=1), total_steps=10, actors=ONE, evaluation={"episodes": 1}), tmp_path
    )
    with pytest.raises(ConfigError, match="gym:Pendulum-v1 cannot repeat a goal"):
        finetune(FinetuneArguments(first.name, tmp_path, tasks=("gym:Pendulum-v1",), steps=(0, 10), adaptation=2))
    assert len(Registry(tmp_path).list()) == 1


def test_sac_is_judged_as_before(tmp_path, capsys):
    """A run whose own evaluations have adaptation, which SAC makes nothing of: looks are told apart all the same."""
    algo = sac.Config(hidden=(8,), batch_size=8)
    source = tiny(algo=algo, total_steps=100, actors=ONE, evaluation={"adaptation": 1, "episodes": 1})
    _, new, rows, _ = tuned(source, tmp_path, capsys, tasks=("dummy:point",), steps=(0, 80), critic_warm_up=1000)
    assert new.steps == 80
    looked = points(rows)
    assert looked[0, 0, True] == looked[80, 0, True] == pytest.approx(looked[0, 1, True], rel=1e-5)


@pytest.mark.metaworld
def test_pearl_on_a_protocol_trains_on_training_goals_and_adapts_to_test_goals(tmp_path, capsys):
    options = metaworld.Options(goals=2, hide_goal=True, success_rule="v2", horizon=10)
    algo = pearl.Config(hidden=(8,), encoder_hidden=(8,), latent_dim=2, batch_size=8, context=8)
    settings = {"tasks": ("metaworld:reach-v3@0", "metaworld:reach-v3@1"), "simulator": options, "algorithm": "pearl", "algo": algo}
    replay = {"updates_per_step": 0.01, "min_size": 40, "max_lead_steps": 40}
    source = tiny(**settings, total_steps=60, actors={**ONE, "simulators": 1}, replay=replay, evaluation={"episodes": 1})
    changes = {"protocol": "ml1-push-v3", "goals": 1, "adaptation": 1, "steps": (600,)}
    _, new, rows, said = tuned(source, tmp_path, capsys, **changes)
    config = config_file.load(new.path / "config.json")
    assert (config.tasks, config.simulator.goals) == (("metaworld:push-v3@0", "metaworld:push-v3@1"), 50)
    assert (config.simulator.horizon, config.simulator.split, new.steps) == (500, "train", 600)
    assert [(row["settings"]["env_steps"], row["adapted_episodes"], row["look"]) for row in rows] == [
        (600, *part) for part in [(0, True), (0, False), (1, True)]
    ]
    assert {(row["task"], row["settings"]["goals"], row["settings"]["protocol"]) for row in rows} == {
        ("metaworld:push-v3", "1 test", "ml1-push-v3")
    }
    assert "push-v3" in said


@pytest.mark.metaworld
def test_what_adapts_by_other_rewards_is_refused(tmp_path):
    options = metaworld.Options(goals=1, hide_goal=True, reward_version="v1", success_rule="v2", horizon=10, repeat=2)
    algo = rl2.Config(episodes=2, hidden=4, epochs=1)
    settings = {"tasks": ("metaworld:reach-v3",), "simulator": options, "algorithm": "rl2", "algo": algo}
    first = run_through(tiny(**settings, total_steps=10, actors=ONE, evaluation={"episodes": 1}), tmp_path)
    with pytest.raises(
        ConfigError, match=r"reward_version is v2 in ml1-push-v3 v3, and was v1 in training.*Allowed: runs of the setting v3"
    ):
        finetune(FinetuneArguments(first.name, tmp_path, protocol="ml1-push-v3"))
