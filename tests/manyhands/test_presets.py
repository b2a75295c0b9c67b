"""Every preset is a run that could begin; those of the paper have the paper's numbers."""

from pathlib import Path

import pytest

from manyhands import presets
from manyhands.arguments import parse_train
from manyhands.config_file import load, save
from manyhands.presets import _vision_names
from manyhands.presets._meta_world import parts
from protocols.metaworld import find
from protocols.vision import META_WORLD, RLBENCH

PAPER = [f"{suite}-{algorithm}{setting}" for suite in ("mt10", "mt50") for algorithm in ("mtsac", "mtmhsac") for setting in ("", "-2019")]
SMALL = [f"{suite}-{algorithm}-small" for suite in ("mt10", "mt50") for algorithm in ("mtsac", "mtmhsac")]
TABLE_1 = [
    f"{benchmark}-{method}{setting}"
    for methods, benchmarks in (
        (("mtppo", "mttrpo", "te"), ("mt10", "mt50")),
        (("maml", "rl2", "pearl"), ("ml1-reach", "ml1-push", "ml1-pick-place", "ml10", "ml45")),
    )
    for method in methods
    for benchmark in benchmarks
    for setting in ("", "-2019")
]


@pytest.mark.parametrize("name", presets.names())
def test_a_preset_is_possible_named_and_survives_its_file(name, tmp_path: Path):
    config = presets.find(name).check()
    assert config.preset == name
    assert presets.summary(name)
    save(config, tmp_path / "config.json")
    assert load(tmp_path / "config.json") == config


@pytest.mark.parametrize("name", [name for name in presets.names() if "pearl" in name and ("vision" in name or "c2farm" in name)])
def test_who_infers_the_task_begins_with_env_steps(name):
    """Its context is of what its policy did."""
    config = presets.find(name)
    assert config.adapts_to_tasks and config.replay.head_start == 0 and config.replay.min_size >= 30


def test_all_of_them_are_there():
    few = {"mt10-mtppo-small", "mt10-mttrpo-small", "ml1-reach-maml-small", "ml1-reach-rl2-small", "ml1-reach-pearl-small"}
    others = few | {
        "reach-sac",
        "bandit-rl2",
        "bandit-rl2-100",
        "navigation-maml",
        "semicircle-pearl",
        "ml10-mtsac-small",
        "ml10-reptile-small",
    }
    sighted = {"blocks-c2farm", "c2farm-reach", "c2farm-reach-parity", "c2farm-reach-small", "c2farm-button-small", "c2farm-rlbench-small"}
    sighted |= {"mt3-c2farm-small", "reptile3-c2farm-small", "pearl3-c2farm-small"}
    assert {*PAPER, *SMALL, *TABLE_1, *others, *sighted, *_vision_names.names()} == set(presets.names())


@pytest.mark.parametrize("name", _vision_names.names())
def test_the_vision_benchmarks(name):
    """Mandi et al. 2022, and the scripts of its authors: 15 rows of each of ten tasks or 150 of one, five demonstrations of each."""
    config, (suite, held_out, method) = presets.find(name), _vision_names.parts(name)
    benchmark, left_out = {
        "vision": (META_WORLD, f"metaworld_vision:{held_out}-v3"),
        "rlbench": (RLBENCH, f"rlbench:{held_out.replace('-', '_')}"),
    }[suite]
    settings = getattr(config.algo, "settings", config.algo)
    alone = method == "scratch"
    assert config.tasks == ((left_out,) if alone else tuple(task for task in benchmark.tasks if task != left_out))
    assert len(config.tasks) == (1 if alone else 10)
    assert settings.batch_size == (60 if alone else 150 if "reptile" in method else 15)
    assert (settings.lr, settings.voxels, settings.channels, config.demos.count) == (5e-4, 16, 64, 1 if alone else 5)
    assert (settings.timeouts, settings.n_step, config.total_steps) == ("bootstrap", 1, 10_000 if alone else 20_000)
    assert settings.reach == ((0.15,) if suite == "rlbench" else (0.10,))
    assert (config.simulator_options["cameras"], config.simulator_options["horizon"], config.evaluation.episodes) == ("front", 10, 30)
    if method == "reptile":
        algo = config.algo
        assert (algo.meta_step, algo.meta_step_end, algo.inner_updates, algo.optimizer, algo.target) == (0.9, 1.0, 5, "carry", "stays")
    if "pearl" in method:
        paper = (settings.inferred.kl_weight, settings.inferred.kl, settings.inferred.told)
        assert paper == ((0.1, "mean", "all") if "corrected" in method else (1.0, "sum", "first"))


def test_each_split_of_rlbench_has_every_method():
    methods = ("mt", "reptile", "reptile-textbook", "pearl", "pearl-corrected", "scratch")
    splits = [task.partition(":")[2].replace("_", "-") for task in RLBENCH.held_out]
    assert {f"rlbench-{split}-{method}" for split in splits for method in methods} <= set(presets.names())
    assert presets.find("rlbench-pick-up-cup-mt").simulator.variation == 0


def test_the_small_one_of_rlbench_takes_another_task():
    parsed = parse_train(["c2farm-rlbench-small", "--tasks", "rlbench:push_button", "--total-steps", "200", "--simulator.cameras", "2"])
    config = parsed.config
    assert (config.tasks, config.total_steps, config.simulator_options["cameras"]) == (("rlbench:push_button",), 200, 2)
    assert (config.demos.count, config.actors.simulators, config.evaluation.simulators) == (5, 1, 2)


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_tables(name):
    """Meta-World (Yu et al. 2019), appendix E.3 and E.4."""
    config, suite = presets.find(name), name.partition("-")[0]
    algo, K = config.algo, len(config.tasks)
    assert config.tasks == find(suite).train_tasks
    assert int(suite.removeprefix("mt")) == K
    assert (algo.hidden, algo.batch_size, algo.gamma, algo.policy_lr, algo.critic_lr) == ((400, 400, 400), 128, 0.99, 3e-4, 3e-4)
    assert (algo.n_step, algo.reward_scale, algo.normalize_obs, algo.pcgrad) == (1, 1.0, False, False)
    assert algo.multi_head == ("mtmhsac" in name)
    assert config.replay.updates_per_step * K == pytest.approx(1)
    assert config.total_steps == 2_000_000 * K
    options = config.simulator
    if name.endswith("2019"):
        assert (options.horizon, options.reward_version, options.goals, options.success_rule) == (150, "v1", 1, "v2")
        assert config.actors.random_steps == 1000 * K
        assert algo.max_grad_norm == 0
    else:
        assert (options.horizon, options.reward_version, options.goals, options.success_rule) == (500, "v2", 50, "v2")
        assert (algo.max_grad_norm, algo.adam_eps) == (1.0, 1e-5)
    assert not options.hide_goal
    assert config.evaluation_options["order"] == "in_turn"


@pytest.mark.parametrize("name", SMALL)
def test_small_presets_say_what_they_reduce(name):
    config, full = presets.find(name), presets.find(name.removesuffix("-small"))
    assert config.tasks == full.tasks
    assert config.simulator == full.simulator
    assert config.algo.multi_head == full.algo.multi_head
    assert config.total_steps < full.total_steps / 10
    assert "small network" in presets.summary(name)


@pytest.mark.parametrize("name", [name for name in TABLE_1 if name.endswith("-2019")])
def test_the_papers_tables_of_other_methods(name):
    """Meta-World (Yu et al. 2019), appendix E.5 to E.10."""
    config, (benchmark, method, _) = presets.find(name), parts(name)
    algo, K, options = config.algo, len(config.tasks), config.simulator
    assert (options.horizon, options.reward_version, options.success_rule) == (150, "v1", "v2")
    assert (options.hide_goal, options.goals) == ((True, 50) if benchmark.startswith("ml") else (False, 1))
    assert algo.gamma == 0.99
    if method == "pearl":
        assert (algo.policy_lr, algo.critic_lr, algo.kl_weight) == (3e-4, 3e-4, pytest.approx(0.1 * 16))
        assert config.replay.updates_per_step == pytest.approx(4000 / 22_500)
        return
    of_a_task = algo.episodes * config.actors.simulators_of_task(K)
    if method in ("mtppo", "mttrpo", "te"):
        assert of_a_task == 10
        assert algo.init_std == 2
    else:
        assert algo.episodes == 10
        phases = 1 + algo.inner_steps if method == "maml" else 1
        assert options.repeat == 10 * phases
        meta_batch = {"maml": 20, "rl2": 40}[method]
        assert K * config.actors.simulators_of_task(K) == max(meta_batch, K)
    expected = {
        "mtppo": {"entropy": 0.002},
        "mttrpo": {"delta": 0.01},
        "te": {"latent": 6, "window": 20, "embedding_max_std": 2.0, "activation": "tanh"},
        "rl2": {"cell": "lstm", "lr": 1e-3, "init_std": 2.0},
        "maml": {"inner_lr": 0.05, "outer": "ppo", "activation": "tanh", "inner_steps": 1},
    }[method]
    assert {field: getattr(algo, field) for field in expected} == expected
