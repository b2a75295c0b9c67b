"""Whatever a person gets wrong: one clear line on stderr, exit code 2, no traceback, nothing started."""

import json
import re
import shutil
from hashlib import sha256

import pytest

from tests.cli.conftest import ask
from tests.system.tiny import manyhands

TRAIN = ["train", "reach-sac"]
BAD = {
    "command": (["trian"], "unknown command 'trian'. Perhaps you meant 'train'"),
    "no preset": (["train"], "train needs a preset first"),
    "preset": (["train", "reach-sca"], "unknown preset 'reach-sca'. Perhaps you meant 'reach-sac'"),
    "key": ([*TRAIN, "--algo.tua", "0.1"], "--algo.tua.*Perhaps you meant: --algo.tau"),
    "positional": ([*TRAIN, "extra"], "extra"),
    "float": ([*TRAIN, "--algo.tau", "hello"], "--algo.tau: 'hello' is not a number"),
    "int": ([*TRAIN, "--total-steps", "1.5"], "--total-steps: '1.5' is not a whole number"),
    "choice": ([*TRAIN, "--backend", "rya"], "'rya'.*--backend.*'inline', 'ray'"),
    "tau": ([*TRAIN, "--algo.tau", "0"], r"algo.tau is 0.0; it must be in \(0, 1\]"),
    "nan": ([*TRAIN, "--algo.policy-lr", "nan"], "algo.policy_lr is nan"),
    "inf": ([*TRAIN, "--checkpoint.every-s", "inf"], "checkpoint.every_s is inf"),
    "layers": ([*TRAIN, "--algo.hidden"], "algo.hidden"),
    "steps": ([*TRAIN, "--total-steps", "0"], "total_steps is 0"),
    "seed": ([*TRAIN, "--seed", "-3"], "seed is -3"),
    "seeds": ([*TRAIN, "--seeds", "garbage"], "--seeds is 'garbage'; write 0-4"),
    "seeds backwards": ([*TRAIN, "--seeds", "4-0"], "--seeds is '4-0'"),
    "seeds, dry": ([*TRAIN, "--seeds", "garbage", "--dry-run"], "--seeds is 'garbage'"),
    "seeds twice": ([*TRAIN, "--seeds", "0-3,2"], "write each seed once"),
    "at once": ([*TRAIN, "--seeds", "0-3", "--at-once", "-1"], "--at-once is -1. Allowed: 0 and up"),
    "per device": ([*TRAIN, "--seeds", "0-3", "--per-device", "0"], "--per-device is 0. Allowed: 1 and up"),
    "stack": ([*TRAIN, "--seeds", "0-3", "--stack", "all"], "--stack is 'all'; write auto, or how many"),
    "stack above at once": (
        [*TRAIN, "--seeds", "0-3", "--stack", "4", "--at-once", "2"],
        "--at-once is 2 but 4 seeds .* fix: --at-once 4, or --stack 2",
    ),
    "devices": ([*TRAIN, "--seeds", "0-3", "--devices", "gpu"], "--devices is 'gpu'; write auto, cpu, or the numbers"),
    "no such GPU": ([*TRAIN, "--seeds", "0-3", "--devices", "99"], "--devices names GPU 99, but of the GPUs that torch can use there"),
    "stack of ranks": (
        [*TRAIN, "--seeds", "0-3", "--stack", "2", "--learner.ranks", "2"],
        "learner.ranks is 2, several processes for one seed.* fix: train the seeds one by one",
    ),
    "cpu of one": ([*TRAIN, "--devices", "cpu"], "--devices is for several seeds"),
    "per device of one": ([*TRAIN, "--per-device", "2"], "--per-device is for several seeds"),
    "devices of one": ([*TRAIN, "--devices", "0"], "--devices is for several seeds"),
    "at once of one": ([*TRAIN, "--at-once", "3"], "--at-once is for several seeds"),
    "ratio": ([*TRAIN, "--replay.updates-per-step", "0"], "replay.updates_per_step is 0.0"),
    "warm-up": ([*TRAIN, "--replay.min-size", "-1"], "replay.min_size is -1"),
    "lead": ([*TRAIN, "--replay.max-lead-steps", "-1"], "replay.max_lead_steps is -1"),
    "warm-up above capacity": ([*TRAIN, "--replay.capacity", "70", "--replay.min-size", "71"], "min_size is 71 but replay holds 70 rows"),
    "batch": ([*TRAIN, "--algo.batch-size", "0"], "algo.batch_size is 0"),
    "actors": ([*TRAIN, "--actors.actors", "0"], "actors.actors is 0"),
    "processes": ([*TRAIN, "--actors.processes", "99"], "actors.processes is 99"),
    "evaluations": ([*TRAIN, "--evaluation.every-steps", "-5"], "evaluation.every_steps"),
    "twin": ([*TRAIN, "--learner.compile", "fast"], "learner.compile is 'fast'; allowed: auto, compile, eager"),
    "matmul": ([*TRAIN, "--learner.matmul", "x"], "learner.matmul is 'x'"),
    "device": ([*TRAIN, "--learner.device", "gpu"], "learner.device is 'gpu'; allowed: auto, cpu, cuda, cuda:N"),
    "GPU": ([*TRAIN, "--learner.device", "cuda:77"], "learner.device is 'cuda:77'; this machine has"),
    "ranks": ([*TRAIN, "--learner.ranks", "3"], "algo.batch_size is 256, learner.ranks 3; it must be a multiple: 255 or 258"),
    "clipping": ([*TRAIN, "--algo.max-grad-norm", "-1"], "algo.max_grad_norm is -1.0"),
    "goals in turn": ([*TRAIN, "--evaluation.in-turn"], "evaluation.in_turn is set, but episodes of metaworld:reach-v3 have fresh goals"),
    "actors of tasks": (["train", "mt10-mtmhsac-small", "--actors.actors", "3"], "actors.actors is 3 for 10 tasks.*: 2 or 5"),
    "init": ([*TRAIN, "--init.run", "nope"], "there are no runs in runs"),
    "init of nothing": ([*TRAIN, "--init.parts", "policy"], "init.step and init.parts have no meaning without init.run"),
    "init's choice": ([*TRAIN, "--init.run", "x", "--init.parts", "actor"], "'actor'.*'all', 'policy'"),
    "what moves": ([*TRAIN, "--algo.train", "critic"], "'critic'.*'all', 'actor', 'last_layer'"),
    "option": ([*TRAIN, "--simulator.horizon", "900"], "'horizon' of simulator metaworld is 900"),
    "option's choice": ([*TRAIN, "--simulator.reward-version", "v3"], "'v3'.*'v1', 'v2'"),
    "task": ([*TRAIN, "--tasks", "metaworld:reach-v9"], "'reach-v9'. Perhaps you meant 'reach-v3'"),
    "simulator": ([*TRAIN, "--tasks", "metaworl:reach-v3"], "'metaworl'. Perhaps you meant 'metaworld'"),
    "no task": ([*TRAIN, "--tasks", "metaworld"], "names no task"),
    "no run": (["resume"], "resume needs a run"),
    "resume": (["resume", "nope"], "there are no runs in runs. Start one"),
    "eval": (["eval", "nope"], "there are no runs in runs"),
    "show": (["show", "nope"], "there are no runs in runs"),
    "step": (["resume", "nope", "--step", "abc"], "--step: 'abc' is not a whole number"),
    "episodes": (["eval", "nope", "--episodes", "0"], "--episodes is 0"),
    "flag": (["presets", "--wat"], "--wat"),
}


def check(answer, says):
    assert answer["code"] == 2, answer
    assert answer["err"].startswith("error: "), answer
    assert answer["err"].count("\n") == 1, "more than one line"
    assert answer["err"].endswith("\n")
    assert re.search(says, answer["err"]), answer["err"]
    assert not re.search(r"Traceback|[╭╰│]", answer["err"])


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    found = dict(zip(BAD, ask([command for command, _ in BAD.values()], folder), strict=True))
    assert not list(folder.iterdir()), "something was left"
    return found


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_one_line(answers, name):
    check(answers[name], BAD[name][1])
    assert answers[name]["out"] == ""


@pytest.mark.metaworld
def test_a_replay_that_cannot_fit_is_refused_with_numbers(tmp_path):
    huge = [*TRAIN, "--replay.capacity", "100000000000"]
    for answer in ask([huge, [*huge, "--dry-run"]], tmp_path):
        check(answer, r"replay needs [\d.e+]+ GB, /dev/shm has [\d.]+ [GM]B free of .*fix: a smaller replay capacity")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_hold_runs(tmp_path):
    (tmp_path / "file").write_text("")
    (answer,) = ask([["show", "x", "--runs", "file/runs"]], tmp_path)
    check(answer, "there are no runs")


def test_the_real_command_line_exits_so(tmp_path):
    """Through the interpreter's own exit."""
    done = manyhands(*BAD["task"][0], cwd=tmp_path)
    check({"code": done.returncode, "out": done.stdout, "err": done.stderr}, BAD["task"][1])
    assert not list(tmp_path.iterdir())


# ---- runs that are there, and damaged -------------------------------------------------------------------------------------


def newest(folder):
    return folder / "checkpoints" / (folder / "checkpoints" / "latest").read_text().strip()


def missing_config(folder):
    (folder / "config.json").unlink()


def broken_config(folder):
    (folder / "config.json").write_text("{")


def unknown_key(folder):
    config = json.loads((folder / "config.json").read_text())
    config["replay"]["capcity"] = 3
    (folder / "config.json").write_text(json.dumps(config))


def wrong_type(folder):
    config = json.loads((folder / "config.json").read_text())
    config["total_steps"] = "many"
    (folder / "config.json").write_text(json.dumps(config))


def other_config_schema(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "schema": 99}))


def missing_file(folder):
    (newest(folder) / "learner.safetensors").unlink()


def truncated(folder):
    path = newest(folder) / "learner.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def bit_flipped(folder):
    path = newest(folder) / "learner.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def flipped_manifest(folder):
    path = newest(folder) / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"learner", b"laerner", 1))


def other_schema(folder):
    path = newest(folder) / "manifest.json"
    manifest = json.loads(path.read_text())
    text = json.dumps({**manifest, "schema": 99})
    path.write_text(text)
    (path.parent / "done").write_text(sha256(text.encode()).hexdigest())


def damaged_segment(folder):
    path = sorted((folder / "segments").iterdir())[0]
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


DAMAGES = {
    missing_config: "config.json is missing: the folder is not a run",
    broken_config: "config.json is not valid JSON",
    unknown_key: "'capcity'. Perhaps you meant 'capacity'",
    wrong_type: "total_steps is 'many'; int is expected",
    other_config_schema: "of another schema than 1",
    missing_file: "learner.safetensors is missing. The checkpoint step_000000100 is intact: pass --step 100",
    truncated: "learner.safetensors has .* bytes instead of .* pass --step 100",
    bit_flipped: "learner.safetensors is damaged: sha256 .* pass --step 100",
    flipped_manifest: "manifest.json is damaged: its sha256 .* pass --step 100",
    other_schema: "has schema 99, this version reads 1",
}


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def refused(finished, tmp_path_factory):
    """For each damage: the answers of resume and eval, and the run's files before and after."""
    top = tmp_path_factory.mktemp("damaged")
    folders = {damage: top / damage.__name__ / finished.name for damage in DAMAGES}
    for damage, folder in folders.items():
        shutil.copytree(finished.parent, folder.parent)
        damage(folder)
    before = {damage: content(folder) for damage, folder in folders.items()}
    commands = [[verb, finished.name, "--runs", str(folder.parent)] for folder in folders.values() for verb in ("resume", "eval")]
    answers = iter(ask(commands, top))
    return {damage: ([next(answers), next(answers)], before[damage], content(folder)) for damage, folder in folders.items()}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_refused_untouched(refused, damage):
    answers, before, after = refused[damage]
    for answer in answers:
        check(answer, DAMAGES[damage])
    assert before == after


def test_an_older_checkpoint_is_gone_to_instead(copied):
    bit_flipped(copied)
    (answer,) = ask([["resume", copied.name, "--runs", str(copied.parent), "--step", "100"]], copied.parent)
    assert (answer["code"], answer["err"]) == (0, "")


def test_a_damaged_replay_segment(copied):
    damaged_segment(copied)
    before = content(copied)
    (answer,) = ask([["resume", copied.name, "--runs", str(copied.parent)]], copied.parent)
    check(answer, r"replay segment .* is damaged \(sha256 differs\)")
    assert {path: path.read_bytes() for path in before} == before


def test_names_that_are_nearly_right(copied):
    runs = ["--runs", str(copied.parent)]
    wrong, absent = ask([["show", "tinny-s0", *runs], ["resume", copied.name, "--step", "7", *runs]], copied.parent)
    check(wrong, f"unknown run 'tinny-s0'. Closest: {copied.name}")
    check(absent, "no complete checkpoint of step 7 .* There are: 100, 160")
