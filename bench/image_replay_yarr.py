"""The peer of ``bench/image_replay.py``: YARR's PrioritizedReplayBuffer with the rows of C2F-ARM with one camera, from a checkout."""

import os
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
from _peers import extract

COMMIT = "23504a2d8b417845d14c86060b7353e685a91957"
EPISODE = 10
"""transitions, then one final observation"""


class YarrBuffer:
    """Filled with so many rows, in memory or one file each in ``folder``.

    Args:
        source: a checkout of github.com/stepjam/YARR, or its git folder.
    """

    def __init__(self, source: str, rows: int, batch: int, folder: Path | None = None) -> None:
        buffer_type, element, extra = _load(source)
        state = (("low_dim_state", (11,), "f4"), ("front_rgb", (3, 128, 128), "u1"), ("front_point_cloud", (3, 128, 128), "f4"))
        cameras = (("front_camera_extrinsics", (4, 4), "f4"), ("front_camera_intrinsics", (3, 3), "f4"))
        indices = (("front_pixel_coord", (2,), "i4"), ("trans_action_indicies", (6,), "i4"), ("rot_grip_action_indicies", (4,), "i4"))
        poses = (("gripper_pose", (7,), "f4"), ("attention_coordinate_layer_0", (3,), "f4"), ("attention_coordinate_layer_1", (3,), "f4"))
        self.buffer = buffer_type(
            batch_size=batch,
            timesteps=1,
            replay_capacity=rows,
            action_shape=(8,),
            action_dtype=np.float32,
            observation_elements=[element(*field) for field in (*state, *cameras)],
            extra_replay_elements=[extra(*field) for field in (*indices, *poses, ("demo", (), "?"))],
            save_dir=None if folder is None else str(folder),
        )
        self.batch, self.folder = batch, folder
        signature = self.buffer._storage_signature
        self.row_bytes = sum(int(np.prod(part.shape, dtype=int)) * np.dtype(part.type).itemsize for part in signature)
        rng = np.random.default_rng(0)
        self._row = {name: rng.integers(0, 255, shape).astype(kind) for name, shape, kind in (*state, *cameras, *indices, *poses)}
        self._row["demo"] = np.array(False)
        self._final = {name: self._row[name] for name, _, _ in (*state, *cameras)}
        while self.buffer.add_count < rows - EPISODE - 1:
            self.insert()

    def insert(self) -> None:
        """An episode."""
        for t in range(EPISODE):
            self.buffer.add(np.zeros(8, np.float32), 0.0, int(t == EPISODE - 1), False, **self._row)
        # In memory a final row takes what the observation lacks from uninitialised arrays, as upstream does.
        self.buffer.add_final(**self._final)

    def draw(self) -> None:
        drawn = self.buffer.sample_transition_batch(batch_size=self.batch)
        self.indices = drawn["indices"]

    def rank(self) -> None:
        self.buffer.set_priority(self.indices, np.random.default_rng(0).random(self.batch, np.float32) + 0.1)

    def forget_pages(self) -> None:
        """Nothing of the files stays in memory."""
        assert self.folder is not None
        for path in self.folder.iterdir():
            file = os.open(path, os.O_RDONLY)
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def _load(source: str) -> tuple:
    """The buffer's class and those of its columns."""
    folder = tempfile.mkdtemp(prefix="yarr-")
    extract(source, COMMIT, ["yarr/__init__.py", "yarr/replay_buffer", "yarr/utils/__init__.py", "yarr/utils/observation_type.py"], folder)
    sys.path.insert(0, folder)
    natsort = types.ModuleType("natsort")  # sorts names in an error message
    natsort.natsort = natsort  # type: ignore[attr-defined]
    natsort.natsorted = sorted  # type: ignore[attr-defined]
    sys.modules.setdefault("natsort", natsort)
    for name in ("yarr/__init__.py", "yarr/replay_buffer/__init__.py", "yarr/utils/__init__.py"):
        Path(folder, name).touch()
    from yarr.replay_buffer.prioritized_replay_buffer import PrioritizedReplayBuffer
    from yarr.replay_buffer.replay_buffer import ReplayElement
    from yarr.utils.observation_type import ObservationElement

    return PrioritizedReplayBuffer, ObservationElement, ReplayElement
