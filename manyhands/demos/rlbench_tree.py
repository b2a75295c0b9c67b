"""Demonstrations in RLBench's own folders, ``<task>/variation<k>/episodes/episode<n>``, as its data set generator writes them.

RLBench is not needed. What differs between its versions is looked for, not deduced: every field that is not needed may be missing.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.demos import EVERY_N, Demo, check, keyframes
from core.errors import DemoError
from manyhands import __version__
from manyhands.demos import png
from manyhands.demos.rlbench import of_gripper, spec
from manyhands.demos.rlbench_pickle import DEMO, OBSERVATION, Array, Record, load
from outpost.rlbench_options import CAMERAS
from outpost.rlbench_seen import MOTION

PICKLE, DESCRIPTIONS, NUMBER = "low_dim_obs.pkl", "variation_descriptions.pkl", "variation_number.pkl"
EXTRA = ("joint_forces", "gripper_touch_forces", "task_low_dim_state")
"""of the motion, kept where each frame has it and it is of one size"""
MOST_FRAMES, LARGEST_FIELD = 20_000, 1 << 28
"""Frames of a demonstration, bytes of one field of all its frames: one array in the file may be that of each frame."""
MOST_PIXELS = 1 << 28
"""of all pictures that are read"""
LONGEST_DESCRIPTION, MOST_DESCRIPTIONS = 500, 100


class Episode(NamedTuple):
    """Where a demonstration is."""

    path: Path
    task: str
    number: int
    variation: int | None
    """of its folder; None: the folder has all, ``all_variations``"""


def episodes(path: Path) -> list[Episode]:
    """All in a folder or below, by task, variation and number.

    Raises:
        DemoError: a pickle lies in a folder with another name.
    """
    return sorted((_episode(found.parent) for found in path.rglob(PICKLE)), key=lambda each: (each.task, each.variation or 0, each.number))


def _episode(path: Path) -> Episode:
    *_, task, variation, middle, name = ("", "", "", *path.resolve().parts)
    numbered, varied = re.fullmatch(r"episode(\d+)", name), re.fullmatch(r"variation(\d+)|all_variations", variation)
    if not numbered or middle != "episodes" or not varied or not re.fullmatch(r"[a-z0-9_]+", task):
        raise DemoError(
            f"{path} is no place of RLBench's. Allowed: TASK/variation0/episodes/episode0, TASK/all_variations/episodes/episode0"
        )
    return Episode(path, task, int(numbered[1]), int(varied[1]) if varied[1] else None)


def read(episode: Episode, cameras: Sequence[str] = ("front",)) -> Demo:
    """The demonstration with these cameras, its keyframes found; pictures of every tenth frame, the keyframes and the last.

    Raises:
        DemoError: a file is missing, damaged or asks for more than data; the message says which.
    """
    where = episode.path
    frames = _frames(where)
    try:
        motion = {name: _stacked(frames, name, where) for name in MOTION}
        motion["gripper_open"] = motion["gripper_open"].astype(np.float32)
        motion |= {name: values for name in EXTRA if (values := _perhaps(frames, name)) is not None}
        goals = keyframes(motion)
        chosen = np.union1d(np.arange(0, len(frames), EVERY_N), [*goals, len(frames) - 1]).astype(np.int64)
        seen = of_gripper(motion, chosen)
        for name in cameras:
            _has(where, name)
            seen |= _camera(where, name, frames, chosen, len(cameras))
        info = _info(episode, frames, cameras)
        demo = Demo(f"rlbench:{episode.task}", motion, chosen, seen, goals, None, True, info)
        check(demo, spec(episode.task, seen[f"{cameras[0]}_rgb"].shape[1], cameras=cameras))
    except (IndexError, ValueError, TypeError) as error:
        raise DemoError(f"{where} is no demonstration of RLBench: its arrays do not fit each other ({str(error)[:100]})") from None
    return demo


def size_of(episode: Episode, camera: str) -> int:
    """Pixels of a side of a camera's first picture.

    Raises:
        DemoError: it has no such camera, or no such picture.
    """
    _has(episode.path, camera)
    return png.read(episode.path / f"{camera}_rgb" / "0.png").shape[1]


def _frames(where: Path) -> list[dict[str, Any]]:
    """The fields of each observation."""
    demo = load(where / PICKLE)
    listed = demo.fields.get("_observations") if type(demo) is Record and demo.name == DEMO else demo
    if type(listed) is not list or not listed or any(type(each) is not Record or each.name != OBSERVATION for each in listed):
        raise DemoError(f"{where / PICKLE} is no demonstration of RLBench: it has no list of observations")
    if not 2 <= len(listed) <= MOST_FRAMES:
        raise DemoError(f"{where / PICKLE} has {len(listed)} frames. Allowed: 2 to {MOST_FRAMES}")
    return [each.fields for each in listed]


def _value(value: Any) -> NDArray | None:
    """An array of numbers, or None."""
    if type(value) is Array:
        return value.values
    small = type(value) in (float, bool) or (type(value) is int and abs(value) < 1 << 53)  # numpy makes objects of larger ones
    return np.array(value) if small else None


def _perhaps(frames: Sequence[Mapping[str, Any]], name: str) -> NDArray | None:
    """(T, ...) of a field in float64 or as it is; None where a frame lacks it or has another size."""
    values = [_value(frame.get(name)) for frame in frames]
    first = values[0]
    if first is None or first.size * 8 * len(frames) > LARGEST_FIELD:
        return None
    same = [value for value in values if value is not None and value.shape == first.shape]
    return np.stack(same).astype(np.float64) if len(same) == len(frames) else None


def _stacked(frames: Sequence[Mapping[str, Any]], name: str, where: Path) -> NDArray:
    values = _perhaps(frames, name)
    if values is None:
        raise DemoError(f"{where} has not {name} in each frame: it was recorded without, or by an RLBench before 1.1")
    return values


def _has(where: Path, camera: str) -> None:
    here = [each for each in CAMERAS if (where / f"{each}_rgb").is_dir() and (where / f"{each}_depth").is_dir()]
    if camera not in here:
        raise DemoError(f"{where} has no pictures of the camera {camera}. Fix: --cameras with some of: {', '.join(here) or 'none'}")


def _camera(where: Path, name: str, frames: Sequence[Mapping[str, Any]], chosen: NDArray, cameras: int) -> dict[str, NDArray]:
    """The four fields of a camera, (F, ...) each."""
    told = [_of_camera(where, name, frames[i]) for i in chosen.tolist()]
    pictures, depths = [], []
    for i, (_, _, near, far) in zip(chosen.tolist(), told, strict=True):
        rgb, coded = (png.read(where / f"{name}_{kind}" / f"{i}.png") for kind in ("rgb", "depth"))
        if rgb.shape != coded.shape or rgb.shape[0] != rgb.shape[1]:
            sizes = f"{rgb.shape[1]} x {rgb.shape[0]} and {coded.shape[1]} x {coded.shape[0]}"
            raise DemoError(f"{where} has pictures of {name} of {sizes} pixels. Allowed: squares, of colours and depth alike")
        if rgb.size * len(chosen) * cameras > 3 * MOST_PIXELS:
            raise DemoError(f"{where} has more than {MOST_PIXELS >> 20} million pixels to read")
        pictures.append(rgb)
        depths.append(png.depth(coded, near, far))
    return {
        f"{name}_rgb": np.stack(pictures),
        f"{name}_depth": np.stack(depths),
        f"{name}_intrinsics": np.stack([each[0] for each in told]),
        f"{name}_extrinsics": np.stack([each[1] for each in told]),
    }


def _of_camera(where: Path, name: str, frame: Mapping[str, Any]) -> tuple[NDArray, NDArray, float, float]:
    """Intrinsics (3, 3), extrinsics (4, 4), near and far in metres."""
    misc = frame.get("misc")
    misc = misc if type(misc) is dict else {}
    inner, outer, near, far = (_value(misc.get(f"{name}_camera_{each}")) for each in ("intrinsics", "extrinsics", "near", "far"))
    if inner is None or outer is None or near is None or far is None:
        raise DemoError(f"{where} has no camera matrices of {name} in misc: it was recorded by an RLBench before 1.1")
    if inner.shape != (3, 3) or outer.shape != (4, 4) or not 0 <= float(near) < float(far) < math.inf:
        raise DemoError(f"{where} has camera matrices of {name} that cannot be: {inner.shape}, {outer.shape}, near {near}, far {far}")
    return inner.astype(np.float64), outer.astype(np.float64), float(near), float(far)


def variation_of(episode: Episode, first: Mapping[str, Any]) -> int | None:
    """RLBench's variation: as a file beside the pickle says, else its folder, else the first observation; None where nothing tells."""
    told = load(episode.path / NUMBER) if (episode.path / NUMBER).exists() else episode.variation
    if told is None and type(first.get("misc")) is dict:
        told = first["misc"].get("variation_index")
    value = _value(told)
    return int(value) if value is not None and value.size == 1 else None


def _info(episode: Episode, frames: Sequence[Mapping[str, Any]], cameras: Sequence[str]) -> dict[str, str]:
    source = "/".join(episode.path.resolve().parts[-4:])
    info = {"made_by": "manyhands demos import", "manyhands": __version__, "source": source, "simulator": "rlbench"}
    variation = variation_of(episode, frames[0])
    info |= {"number": str(episode.number), "cameras": " ".join(cameras)}
    info |= {} if variation is None else {"rlbench_variation": str(variation)}
    said = _descriptions(episode.path)
    return info | ({"description": said[0], "descriptions": json.dumps(said)} if said else {})


def _descriptions(where: Path) -> list[str]:
    """What the task is in words, several times; of the episode or its variation."""
    for path in (where / DESCRIPTIONS, where.parents[1] / DESCRIPTIONS):
        if path.exists():
            said = load(path)
            words = [each for each in said if type(each) is str and each.isprintable()] if type(said) is list else []
            return [each[:LONGEST_DESCRIPTION] for each in words[:MOST_DESCRIPTIONS]]
    return []
