"""``manyhands video``: episodes of a run that acts by keyframes, as a moving picture with the voxels that it chose drawn in."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from core.checkpoint import Checkpoints
from core.errors import ConfigError
from core.seen import Watch
from core.types import Weights
from manyhands import build, config_file
from manyhands.arguments import ShowArguments
from manyhands.evaluate import weights_of
from manyhands.registry import Registry
from simulators import hooks
from simulators.pool import SimulatorPool

if TYPE_CHECKING:
    from manyhands.config import RunConfig

SCALE = 3
"""pixels of the picture for one of the camera's"""
COLOURS = ((255, 210, 0), (255, 110, 0), (230, 0, 60), (160, 0, 200))
"""of the boxes of each depth"""
STILL_MS, LAST_MS = 700, 1500
EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if (a ^ b).bit_count() == 1]
"""of a box whose corner number's bits say which end of each axis it is at"""


@dataclass(frozen=True)
class VideoArguments(ShowArguments):
    """A GIF of episodes, with goals as in training: before each keyframe what the policy sees, and the voxel it chooses at each depth."""

    task: str = ""
    """which of the run's tasks; all by default"""
    episodes: int = 2
    """of each task"""
    which: str = "last"
    """policy of the run's end, or of its best evaluation: last, best"""
    seed: int = 0
    """of the goals"""
    out: Path | None = None
    """the file; by default videos/TASK.gif in the run's folder"""

    def check(self) -> None:
        """Raises ConfigError where options cannot be."""
        if self.episodes < 1 or self.seed < 0:
            raise ConfigError(f"--episodes is {self.episodes} and --seed {self.seed}. Allowed: 1 and up, 0 and up")
        if self.which not in ("last", "best"):
            raise ConfigError(f"--which is {self.which!r}. Allowed: last, best")
        if self.out is not None and self.out.suffix != ".gif":
            raise ConfigError(f"--out is {self.out}. Allowed: a file whose name ends in .gif")


def film_run(options: VideoArguments) -> list[Path]:
    """Writes a file per task, and returns them.

    Raises:
        ConfigError: the run has no such task, or does not act by keyframes.
    """
    options.check()
    row = Registry(options.runs).get(options.run)
    config = config_file.load(row.path / "config.json")
    hooks.require(config.tasks)
    tasks = [options.task] if options.task else list(config.tasks)
    if unknown := [task for task in tasks if task not in config.tasks]:
        raise ConfigError(f"--task is {unknown[0]}. Allowed: {', '.join(config.tasks)}")
    if options.out is not None and len(tasks) > 1:
        raise ConfigError(f"--out is one file, for {len(tasks)} tasks. Fix: --task {tasks[0]}")
    weights = weights_of(Checkpoints(row.path / "checkpoints", config.checkpoint.keep), options.which, None)
    written = []
    for task in tasks:
        path = options.out or row.path / "videos" / f"{task.partition(':')[2]}.gif"
        pictures, durations = zip(*_film(config, weights, task, options), strict=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=list(durations), loop=0)
        written.append(path)
    return written


def _film(config: "RunConfig", weights: Weights, task: str, options: VideoArguments) -> Iterator[tuple[Image.Image, int]]:
    """Pictures, and for how many ms each is shown."""
    seed = build.seeds(replace(config, seed=options.seed)).child("video").integer()
    with SimulatorPool(task, [seed], config.simulator_options, **config.actors.limits()) as pool:
        algorithm: Any = build.algorithm(config, pool.spec)
        if pool.spec.keyframes is None:
            raise ConfigError(f"{task} is not acted in by keyframes and has no cameras: there is nothing to draw. Allowed: runs of c2farm")
        watch, carry = Watch([config.tasks.index(task)], pool.spec.action_dim), None
        for episode in range(options.episodes):
            pool.reset([episode])
            watch.begin(np.ones(1, bool))
            for step in range(pool.spec.horizon):
                shown = {name: value.copy() for name, value in pool.obs.items()}
                action, carry, columns = algorithm.act(weights.params, carry, watch.seen(shown), None)
                boxes, title = (
                    _boxes(getattr(algorithm, "inner", algorithm), columns),
                    f"{task.partition(':')[2]}  episode {episode + 1}, keyframe {step + 1}",
                )
                for depth in range(len(boxes) + 1):
                    yield _picture(pool.spec.keyframes.cameras, shown, boxes[:depth], title), STILL_MS
                watch.acted(action)
                done = pool.step(action)
                ended = done.terminated | done.truncated | done.lost
                watch.stepped(done.reward, ended)
                if ended[0]:
                    said = "success" if done.success[0] else "no success"
                    yield _picture(pool.spec.keyframes.cameras, done.closing, [], f"{title}: {said}"), LAST_MS
                    break


def _boxes(algorithm: Any, columns: Mapping[str, NDArray]) -> list[NDArray[np.float64]]:
    """(8, 3) corners of the voxel chosen at each depth."""
    from algos.lib.voxels import centre, unflat

    space, found = algorithm.space, []
    for depth in range(space.depths):
        bounds = space.bounds(depth, columns["centre"][0, depth - 1] if depth else np.zeros(3))
        middle = centre(unflat(columns["voxel"][0, depth], space.voxels), bounds, space.voxels)
        half = (bounds[3:] - bounds[:3]) / space.voxels / 2
        found.append(np.array([middle + half * (2 * np.array(corner) - 1) for corner in product((0, 1), repeat=3)]))
    return found


def _picture(cameras: Sequence[str], shown: Mapping[str, NDArray], boxes: Sequence[NDArray], title: str) -> Image.Image:
    """What the cameras see side by side, boxes as wires."""
    views = []
    for name in cameras:
        rgb = shown[f"{name}_rgb"][0]
        view = Image.fromarray(np.ascontiguousarray(rgb)).resize((SCALE * rgb.shape[1], SCALE * rgb.shape[0]), Image.Resampling.NEAREST)
        draw = ImageDraw.Draw(view)
        for depth, corners in enumerate(boxes):
            pixels, ahead = _projected(corners, shown[f"{name}_intrinsics"][0], shown[f"{name}_extrinsics"][0])
            for a, b in EDGES if ahead else []:
                draw.line([tuple(SCALE * pixels[a]), tuple(SCALE * pixels[b])], fill=COLOURS[depth % len(COLOURS)], width=2)
        views.append(view)
    whole = Image.new("RGB", (sum(view.width for view in views), views[0].height + 16))
    ImageDraw.Draw(whole).text((4, 2), title, fill=(255, 255, 255))
    for i, view in enumerate(views):
        whole.paste(view, (i * view.width, 16))
    return whole


def _projected(points: NDArray, intrinsics: NDArray, extrinsics: NDArray) -> tuple[NDArray[np.float64], bool]:
    """Pixels (n, 2) of points (n, 3), and whether all are in front of the camera."""
    local = (points - extrinsics[:3, 3]) @ extrinsics[:3, :3]  # the inverse of a rotation is its transpose
    image = local @ intrinsics.T
    return image[:, :2] / image[:, 2:], bool((image[:, 2] > 0).all())
