"""From demonstrations to the columns of replay, which ``outpost.policies.keyframe_rows`` fills live."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from algos.lib import grids, scene_shift
from algos.lib.next_best_pose import Space
from algos.lib.voxels import voxelise
from core.demos import Chain, Demo, chains
from core.poses import Target, action_of, target_of
from core.types import TaskSpec
from outpost.policies.keyframe_rows import LiveRows, Looked

BINS = 256
"""of a rotation's angle at most: they are numbered by a uint8"""


class Augmentation(NamedTuple):
    """Of demonstrations, when they are put into replay; see ``algos.c2farm.Config``."""

    every: int = 10
    copies: int = 1
    jitter: float = 0.75
    shift: float = 0.0
    turn: float = 0.0


class KeyframeRows(LiveRows):
    """Rows of one kind of simulator.

    Args:
        room: voxels of an observation that a row has room for.
        image: the first camera's image is kept too.
    """

    def __init__(self, spec: TaskSpec, space: Space, room: int, augmentation: Augmentation, *, image: bool) -> None:
        shapes = {field.name: field.shape for field in spec.observation}
        assert spec.keyframes is not None, "whose rows are of keyframes"
        super().__init__(space, room, shapes[f"{spec.keyframes.cameras[0]}_rgb"], image=image)
        self.space, self.keyframes, self.augmentation, self.horizon = space, spec.keyframes, augmentation, spec.horizon

    def of_demo(self, demo: Demo, rng: np.random.Generator) -> list[dict[str, NDArray]]:
        """See ``core.abilities.Encoding.encode_demo``; each chain as often as the augmentation says."""
        found = chains(demo, self.augmentation.every)
        return [self._chain(demo, chain, rng) for _ in range(self.augmentation.copies) for chain in found]

    def shown(self, demo: Demo) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        """A demonstration as an episode of n transitions, without augmentation: first camera's images (n, H, W, 3), actions (n, A) as heads
        would choose them, rewards (n,)."""
        whole, found = chains(demo, self.augmentation.every)[0], []
        for step in range(len(whole.reward)):
            choice = self.space.choice(self._target(whole, step))
            found.append((demo.observations[f"{self.keyframes.cameras[0]}_rgb"][whole.at[step]], self.space.action(choice)))
        rgb, action = (np.stack(column) for column in zip(*found, strict=True))
        return rgb, action, whole.reward

    def _target(self, chain: Chain, step: int) -> Target:
        """Where a step of a chain leads."""
        done = action_of(self.keyframes, chain.poses[step], chain.opened[step]) if chain.actions is None else chain.actions[step]
        return target_of(self.keyframes, done)

    def _chain(self, demo: Demo, chain: Chain, rng: np.random.Generator) -> dict[str, NDArray]:
        """The columns of a chain of n transitions, all in one scene a little beside the true one."""
        targets, seen = [self._target(chain, step) for step in range(len(chain.reward))], chain.observations(demo, self.horizon)
        shift = self._shift(targets, rng)
        if shift is not None:
            targets = [_shifted(target, shift) for target in targets]
            seen["obs"] = moved_hand(seen["obs"], seen["gripper_pose"], shift)
        looked = [self._demonstrated(seen, step, target, shift, rng) for step, target in enumerate(targets)]
        closing = {field.name: np.zeros(field.shape, field.dtype) for field in self.encoded()}  # terminal: nobody looks at it
        return {
            **grids.stacked([*(self.encoding(one) for one in looked), closing]),
            **grids.stacked([self.labels(one.choice) for one in looked]),
            "obs": seen["obs"].astype(np.float32),
            "action": np.stack([self.space.action(one.choice) for one in looked]),
            "reward": chain.reward,
            "terminated": chain.terminated,
        }

    def _shift(self, targets: Sequence[Target], rng: np.random.Generator) -> scene_shift.Shift | None:
        own = self.augmentation
        if not own.shift and not own.turn:
            return None
        goals, degrees = np.stack([target.position for target in targets]), own.turn if self.keyframes.rotation else 0.0
        return scene_shift.draw(goals, self.space.bounds(0, np.zeros(3)), rng, share=own.shift, yaw_degrees=degrees)

    def _demonstrated(
        self, seen: Mapping[str, NDArray], step: int, target: Target, shift: scene_shift.Shift | None, rng: np.random.Generator
    ) -> Looked:
        """What would have been seen by one who does what was done."""
        space, (points, colours) = self.space, self.cloud(seen, step)
        points = points if shift is None else scene_shift.shifted_points(points, shift)
        choice = space.choice(target, rng.uniform(-1, 1, (space.depths - 1, 3)) * space.jitter(self.augmentation.jitter))
        bounds = [space.bounds(depth, middle) for depth, middle in enumerate([np.zeros(3), *choice.centre])]
        return Looked(choice, [voxelise(points, colours, box, space.voxels) for box in bounds], self.rgb(seen, step))


def _shifted(target: Target, shift: scene_shift.Shift) -> Target:
    """Where the same action leads in a shifted scene."""
    turned = np.array([0.0, 0.0, 0.0, 1.0]) if target.quaternion is None else target.quaternion
    position, quaternion = scene_shift.shifted_pose(target.position, turned, shift)
    return target._replace(position=position, quaternion=None if target.quaternion is None else quaternion)


def moved_hand(obs: NDArray, pose: NDArray, shift: scene_shift.Shift) -> NDArray[np.float32]:
    """``obs`` (n, O) in which the hand, wherever its numbers are those of ``pose`` (n, 7), is in the shifted scene, too."""
    moved, told = obs.astype(np.float32), pose.astype(np.float32)
    after = [scene_shift.shifted_pose(one[:3], one[3:], shift) for one in pose]
    for at in range(obs.shape[1] - 2):
        if np.array_equal(obs[:, at : at + 3].astype(np.float32), told[:, :3]):
            moved[:, at : at + 3] = [position for position, _ in after]
            if np.array_equal(obs[:, at + 3 : at + 7].astype(np.float32), told[:, 3:]):
                moved[:, at + 3 : at + 7] = [quaternion for _, quaternion in after]
    return moved
