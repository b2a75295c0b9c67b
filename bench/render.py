"""What a picture costs: MuJoCo's default flags against ours, camera by camera; resets and keyframes of the vision benchmark.

``python bench/render.py``. One process on one core; both sides of a ratio take turns on the same states. Results:
bench/results/render.{md,json}.
"""

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
os.environ["LP_NUM_THREADS"] = "0"  # Mesa draws in the thread that asks: else a core would not be a core
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import numpy as np
from _machine import command_line, cores, describe, write, write_json

PIXELS = 128
_SMOOTHING, _SHADOW_PIXELS = 4, 4096
"""samples of a pixel, size of the shadow map: MuJoCo's defaults"""


class Sides:
    """One task, drawn as MuJoCo's own Renderer does, one pass for colour and one for depth, and by us."""

    def __init__(self, task: str, camera: str) -> None:
        import mujoco

        import simulators
        from simulators.metaworld_vision.cameras import view
        from simulators.metaworld_vision.canvas import canvas

        self.simulator = simulators.make(f"metaworld_vision:{task}", 0, image_size=PIXELS)
        self.simulator.reset(0)
        hand, self.data = self.simulator.hand, self.simulator.eyes.scratch
        self.view = view(camera, hand.model, self.data)
        self.canvas = canvas(hand.model, PIXELS)
        # The default settings are kept in the model, and read when a context is made.
        quality = hand.model.vis.quality
        quality.offsamples, quality.shadowsize = _SMOOTHING, _SHADOW_PIXELS
        self.renderer = mujoco.Renderer(hand.model, PIXELS, PIXELS)
        quality.offsamples = quality.shadowsize = 0
        self.scene_camera = self._free_camera(camera, mujoco)

    def _free_camera(self, camera: str, mujoco: Any) -> Any:
        """The same place for MuJoCo's Renderer; it knows cameras of the model by name only."""
        from simulators.metaworld_vision.cameras import OWN

        if camera not in OWN:
            return camera
        made, pose = mujoco.MjvCamera(), OWN[camera]
        way = np.subtract(pose.target, pose.position)
        made.lookat[:], made.distance = pose.target, np.linalg.norm(way)
        made.azimuth, made.elevation = np.rad2deg(np.arctan2(way[1], way[0])), np.rad2deg(np.arcsin(way[2] / made.distance))
        return made

    def default_rgb(self) -> None:
        self.renderer.update_scene(self.data, self.scene_camera)
        self.renderer.render()

    def default_both(self) -> None:
        self.default_rgb()
        self.renderer.enable_depth_rendering()
        self.renderer.render()
        self.renderer.disable_depth_rendering()

    def ours(self) -> None:
        self.canvas.draw(self.data, [self.view], sites=True, mask=False)

    def ours_with_mask(self) -> None:
        self.canvas.draw(self.data, [self.view], sites=True, mask=True)

    def driver(self) -> str:
        """Who draws: a GPU's driver, or Mesa on the CPU."""
        from OpenGL import GL

        self.ours()
        return f"{os.environ['MUJOCO_GL']}, {GL.glGetString(GL.GL_RENDERER).decode()}"

    def measure(self, rounds: int) -> dict[str, float]:
        sides = {name: getattr(self, name) for name in ("default_rgb", "default_both", "ours", "ours_with_mask")}
        taken: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, draw in sides.items():
                taken[name].append(_ms(draw))
        self.renderer.close()
        return {name: median(values[1:]) for name, values in taken.items()}


def _ms(work: Callable[[], object]) -> float:
    """CPU milliseconds of this process."""
    began = time.process_time()
    work()
    return 1e3 * (time.process_time() - began)


def keyframes(task: str, episodes: int) -> dict[str, float]:
    """Demonstrations played again: milliseconds of a reset, the first to a goal and later ones, and of a keyframe."""
    import simulators
    from core.errors import SimulatorError

    simulator = simulators.make(f"metaworld_vision:{task}", 0, split="test", order="in_turn", image_size=PIXELS)
    simulator.reset(49)
    first, again, step, frames = [], [], [], []
    for variation in range(episodes):
        first.append(_ms(lambda v=variation: simulator.reset(v)))
        try:
            demo = simulator.demonstrate(variation)
        except SimulatorError:
            continue
        again.append(_ms(lambda v=variation: simulator.reset(v)))
        before, simulator.hand.watch = len(frames), lambda: frames.append(1)
        step += [_ms(lambda a=action: simulator.step(a)) for action in demo.actions]
        simulator.hand.unwatch()
        assert len(frames) > before
    n = len(step)
    return {
        "first_reset_ms": median(first),
        "reset_ms": median(again),
        "step_ms": median(step),
        "env_steps": len(frames) / n,
        "shown": len(again),
    }


def markdown(about: dict, cameras: dict[str, dict[str, float]], tasks: dict[str, dict[str, float]]) -> str:
    ratios = [row["default_both"] / row["ours"] for row in cameras.values()]
    lines = [
        "# Pictures and keyframes on one core",
        "",
        f"`{about['command']}`, {about['when']}. {about['machine']}; Python {about['python']}; {about['versions']}; {about['gl']}.",
        f"CPU milliseconds of one process bound to one core, medians of {about['rounds']} rounds, the sides in turn, {about['task']},",
        f"{PIXELS} x {PIXELS} pixels.",
        "Default: MuJoCo's Renderer with its default flags, a second pass for depth. Ours: colour and depth in one pass, without shadows,",
        "reflections, sky and smoothing; the mask is a second pass.",
        f"Load (1 minute) {about['load_before']:.1f} before, {about['load_after']:.1f} after; this bench alone makes about 1.",
        "",
        f"- colour and depth, default / ours: median {median(ratios):.1f}, least {min(ratios):.1f}.",
        "",
        "| camera | default colour | default colour + depth | ours colour + depth | with mask | ours, pictures/s | default / ours |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, r in cameras.items():
        times = " | ".join(f"{r[side]:.1f}" for side in ("default_rgb", "default_both", "ours", "ours_with_mask"))
        lines.append(f"| {name} | {times} | {1e3 / r['ours']:.0f} | {r['default_both'] / r['ours']:.1f} |")
    lines += [
        "",
        "Env steps are keyframes, as an expert chose them, with one picture of `front` each. The first reset to a goal is simulated, later",
        f"ones are copied. Episodes: {about['episodes']} per task.",
        "",
        "| task | first reset, ms | reset, ms | keyframe, ms | Meta-World steps in it | expert succeeded |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for task, r in tasks.items():
        numbers = " | ".join(f"{r[key]:.1f}" for key in ("first_reset_ms", "reset_ms", "step_ms", "env_steps"))
        lines.append(f"| {task} | {numbers} | {r['shown']} of {about['episodes']} |")
    return "\n".join([*lines, ""])


def main() -> None:
    from importlib.metadata import version

    from protocols.vision import META_WORLD, RESERVES
    from simulators.metaworld_vision import gl
    from simulators.metaworld_vision.names import CAMERAS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=[name.partition(":")[2] for name in (*META_WORLD.tasks, *RESERVES)])
    parser.add_argument("--cameras", default=",".join(CAMERAS))
    parser.add_argument("--task", default="push-v3", help="that is drawn by all cameras")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    os.sched_setaffinity(0, cores(1))
    os.environ["MUJOCO_GL"] = gl.backend()
    about = describe() | {"command": command_line("render"), "rounds": args.rounds, "task": args.task, "episodes": args.episodes}
    about["versions"] = ", ".join(f"{name} {version(name)}" for name in ("metaworld", "mujoco", "numpy"))
    cameras, tasks = {}, {}
    for camera in args.cameras.split(","):
        sides = Sides(args.task, camera)
        about["gl"] = sides.driver()
        cameras[camera] = sides.measure(args.rounds)
        print(camera, {name: round(value, 1) for name, value in cameras[camera].items()}, flush=True)
    for task in args.tasks:
        tasks[task] = keyframes(task, args.episodes)
        print(task, {name: round(value, 1) for name, value in tasks[task].items()}, flush=True)
    about["load_after"] = os.getloadavg()[0]
    write_json(args.out / "render.json", {"about": about, "cameras": cameras, "tasks": tasks})
    write(args.out / "render.md", markdown(about, cameras, tasks))


if __name__ == "__main__":
    main()
