"""Videos of runs that act by keyframes: the boxes lie where the hand is sent, and a run of anything else is told so."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import algos
import simulators
from algos import c2farm
from core.poses import target_of
from core.seen import Watch
from manyhands import presets, session
from manyhands.cli import main
from manyhands.video import COLOURS, _boxes, _picture, _projected

SMALL = ["--algo.voxels", "8", "--algo.channels", "4", "--algo.batch-size", "4", "--simulator.size", "32"]
SMALL += ["--replay.head-start", "2", "--evaluation.episodes", "2"]


@pytest.fixture(scope="module")
def looked():
    """A simulator, what it shows, and what an untrained policy makes of that."""
    simulator = simulators.make("blocks:lift", 0, size=32)
    algorithm = c2farm.make(c2farm.Config(voxels=8, channels=4), simulator.spec, 1)
    shown = {name: np.asarray(value)[None] for name, value in simulator.reset(3).items()}
    params = {name: leaf[0].numpy() for name, leaf in algorithm.init([0]).params.items()}
    action, _, columns = algorithm.act(params, None, Watch([0], simulator.spec.action_dim).seen(shown), None)
    return SimpleNamespace(simulator=simulator, algorithm=algorithm, shown=shown, action=action[0], columns=columns)


def test_the_last_box_is_around_where_the_hand_is_sent_and_of_a_voxels_size(looked):
    boxes, target = _boxes(looked.algorithm, looked.columns), target_of(looked.simulator.keyframes, looked.action)
    bounds = looked.simulator.keyframes.bounds  # a cube may reach beyond them, the hand does not
    np.testing.assert_allclose(np.clip(boxes[-1].mean(0), bounds[:3], bounds[3:]), target.position, atol=1e-5)
    np.testing.assert_allclose(np.ptp(boxes[0], 0), 0.6 / 8)
    np.testing.assert_allclose(np.ptp(boxes[1], 0), 0.3 / 8)


def test_a_point_is_drawn_at_the_pixel_that_shows_it(looked):
    depth, K, E = (looked.shown[f"front_{name}"][0] for name in ("depth", "intrinsics", "extrinsics"))
    u, v = 20, 11
    point = (E @ [*(np.linalg.inv(K) @ np.array([u, v, 1.0]) * depth[v, u]), 1])[:3]
    pixels, ahead = _projected(point[None], K, E)
    np.testing.assert_allclose(pixels[0], [u, v], atol=1e-3)
    assert ahead
    assert not _projected((2 * E[:3, 3] - point)[None], K, E)[1], "behind the camera"


def test_boxes_are_seen_in_the_picture(looked):
    boxes = _boxes(looked.algorithm, looked.columns)
    plain, drawn = (np.asarray(_picture(("front",), looked.shown, some, "title")) for some in ([], boxes[:1]))
    assert plain.shape == (3 * 32 + 16, 3 * 32, 3)
    assert not (plain == COLOURS[0]).all(-1).any()
    assert (drawn == COLOURS[0]).all(-1).any()


def test_a_run_of_reptile_is_filmed_too(tmp_path, capsys):
    settings = c2farm.Config(voxels=8, channels=4, batch_size=4)
    config = presets.find("blocks-c2farm")
    algo = algos.find("reptile").Config(inner="c2farm", settings=settings, inner_updates=2)
    evaluation, replay = replace(config.evaluation, episodes=1, target_success=0.0), replace(config.replay, head_start=0)
    simulator = replace(config.simulator, size=16)
    tiny = replace(config, algorithm="reptile", algo=algo, total_steps=1, evaluation=evaluation, replay=replay, simulator=simulator)
    assert session.train_seeds(tiny, [0], tmp_path) == 0
    run = next(path.name for path in tmp_path.iterdir() if path.name.startswith("blocks-c2farm"))
    assert main(["video", run, "--episodes", "1", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip().endswith("touch.gif")


def test_a_run_is_filmed_from_its_first_observation_to_its_end(tmp_path, capsys):
    runs = ["--runs", str(tmp_path)]
    assert main(["train", "blocks-c2farm", "--total-steps", "2", "--evaluation.target-success", "0", *SMALL, *runs]) == 0
    run = next(path.name for path in tmp_path.iterdir() if path.name.startswith("blocks-c2farm"))
    capsys.readouterr()
    assert main(["video", run, "--episodes", "1", *runs]) == 0
    path = capsys.readouterr().out.strip()
    with Image.open(path) as film:
        assert film.n_frames >= 4, "seen, two depths, what came of it"  # type: ignore[attr-defined]
    assert main(["video", run, "--task", "blocks:lift", *runs]) == 2
    assert "--task is blocks:lift. Allowed: blocks:touch" in capsys.readouterr().err
    assert main(["video", run, "--out", "film.mp4", *runs]) == 2
    assert "ends in .gif" in capsys.readouterr().err
