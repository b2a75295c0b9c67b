"""Point clouds and voxel grids against loops over points, and on every boundary."""

import numpy as np
import pytest
import torch

from algos.lib import rotations, scene_shift
from algos.lib.voxels import around, cells, centre, cloud, dense, flat, label, unflat, voxelise

BOUNDS = np.array([-0.3, -0.5, 0.6, 0.7, 0.5, 1.6])
INTRINSICS = np.array([[-175.8, 0.0, 15.0], [0.0, -175.8, 11.0], [0.0, 0.0, 1.0]])


def pose(rng: np.random.Generator) -> np.ndarray:
    extrinsics = np.eye(4)
    extrinsics[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    extrinsics[:3, 3] = rng.uniform(-1, 1, 3)
    return extrinsics


def scene(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """A third of the points far out, many in the same voxel, some nowhere."""
    points = rng.uniform(BOUNDS[:3] - 0.4, BOUNDS[3:] + 0.4, (count, 3)).astype(np.float32)
    points[: count // 3] = points[0] * 0 + 0.61 + rng.uniform(0, 0.02, (count // 3, 3))
    points[-4:] = np.array([[np.nan] * 3, [np.inf] * 3, [-np.inf, 0, 1], [1e30, 0, 1]], np.float32)
    return points, rng.integers(0, 256, (count, 3), dtype=np.uint8)


def loop(points: np.ndarray, colours: np.ndarray, bounds: np.ndarray, V: int) -> dict[int, tuple[np.ndarray, np.ndarray, int]]:
    box, found = bounds.astype(np.float32), {}
    side = (box[3:] - box[:3]) / np.float32(V)
    for point, colour in zip(points, colours, strict=True):
        cell = np.floor((point - (box[:3] - side)) / (side + np.float32(1e-12)))
        if not ((cell >= 1) & (cell <= V)).all():
            continue
        i, j, k = (int(c) - 1 for c in cell)
        place, shade, count = found.get((i * V + j) * V + k, (np.zeros(3), np.zeros(3, np.int64), 0))
        found[(i * V + j) * V + k] = place + point.astype(np.float64), shade + colour, count + 1
    return found


def test_a_cloud_is_where_the_camera_sees_each_pixel() -> None:
    rng = np.random.default_rng(0)
    depth, extrinsics = rng.uniform(0.5, 2, (24, 32)), pose(rng)
    points = cloud(depth, INTRINSICS, extrinsics).reshape(24, 32, 3)
    for v, u in ((0, 0), (23, 31), (7, 19)):
        seen = np.linalg.inv(INTRINSICS) @ (u * depth[v, u], v * depth[v, u], depth[v, u])
        np.testing.assert_allclose(points[v, u], (extrinsics @ [*seen, 1])[:3], atol=1e-6)


@pytest.mark.parametrize("voxels", [16, 8])
def test_a_grid_has_the_bits_of_a_loop_over_the_points(voxels: int) -> None:
    points, colours = scene(np.random.default_rng(voxels), 3000)
    sparse, found = voxelise(points, colours, BOUNDS, voxels), loop(points, colours, BOUNDS, voxels)
    assert sparse.voxel.dtype == np.uint16 and sparse.voxel.tolist() == sorted(found)
    for number, value in zip(sparse.voxel, sparse.value, strict=True):
        place, shade, count = found[number]
        np.testing.assert_array_equal(value[:3], (place / count).astype(np.float32))
        np.testing.assert_array_equal(value[3:], (shade / count / 255 * 2 - 1).astype(np.float32))


def test_boundaries_are_the_authors() -> None:
    """The lower bound is inside and the upper one too, by the tiny number that a side is longer; beyond them points vanish."""
    bounds = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    xs = np.array([0.0, 1 / 16, 0.5, np.nextafter(np.float32(0.5), np.float32(0)), 1 - 1e-3, 1.0, -1e-6, 1.001], np.float32)
    points = np.full((len(xs), 3), 0.3, np.float32)
    points[:, 0] = xs
    kept, cell = cells(points, bounds, 16)
    side, shifted = np.float32(1 / 16), np.float32(0) - np.float32(1 / 16)
    wanted = [int(np.floor((x - shifted) / (side + np.float32(1e-12)))) for x in xs]
    assert kept.tolist() == [n for n, w in enumerate(wanted) if 1 <= w <= 16]
    assert [w - 1 for w in wanted if 1 <= w <= 16] == unflat(cell, 16)[:, 0].tolist()
    assert kept.tolist() == [0, 1, 2, 3, 4]


def test_dense_grids_have_ten_channels_in_their_order() -> None:
    rng, V = np.random.default_rng(1), 8
    grids = [voxelise(*scene(rng, n), BOUNDS, V) for n in (50, 2000)]
    longest = max(len(g.voxel) for g in grids) + 3
    index, value = np.full((3, longest), 7, np.uint16), np.full((3, longest, 6), np.nan, np.float32)
    for row, grid in enumerate(grids):
        index[row, : len(grid.voxel)], value[row, : len(grid.voxel)] = grid.voxel, grid.value
    value[2] = 5.0  # of an empty grid, whose places hold old numbers
    count = torch.tensor([len(g.voxel) for g in grids] + [0])
    got = dense(torch.from_numpy(index), torch.from_numpy(value), count, V)
    wanted = np.zeros((3, V, V, V, 10), np.float32)
    wanted[..., 6:9] = np.stack(np.meshgrid(*[np.arange(V) / V] * 3, indexing="ij"), -1)
    for row, grid in enumerate(grids):
        i, j, k = unflat(grid.voxel.astype(np.int64), V).T
        wanted[row, i, j, k, :6], wanted[row, i, j, k, 9] = grid.value, 1
    np.testing.assert_array_equal(got.numpy(), wanted)
    half = dense(torch.from_numpy(index), torch.from_numpy(value).half(), count, V)
    assert half.dtype == torch.float32 and torch.allclose(half, got, atol=1e-3)
    assert not dense(torch.zeros(2, 0, dtype=torch.int64), torch.zeros(2, 0, 6), torch.zeros(2), V)[..., [0, 9]].any()


def test_labels_are_clamped_and_their_middle_is_in_them() -> None:
    V, positions = 16, np.array([[-0.3, -0.5, 0.6], [0.7, 0.5, 1.6], [9, 9, 9], [-9, 0.0, 1.0]])
    assert label(positions, BOUNDS, V).tolist() == [[0, 0, 0], [15, 15, 15], [15, 15, 15], [0, 7, 6]]
    inside = np.random.default_rng(0).uniform(BOUNDS[:3], BOUNDS[3:], (500, 3))
    cell = label(inside, BOUNDS, V)
    assert (abs(centre(cell, BOUNDS, V) - inside) <= 1 / 32 + 1e-9).all()
    np.testing.assert_allclose(centre(cell, BOUNDS, V) - centre(cell, BOUNDS, V, corner=True), 1 / 32)
    assert (unflat(flat(cell, V), V) == cell).all()
    np.testing.assert_allclose(centre(label(inside, around(inside, 0.15), V), around(inside, 0.15), V), inside, atol=0.15 / 16 + 1e-9)


def test_rotations_are_scipys() -> None:
    transform = pytest.importorskip("scipy.spatial.transform")
    q = np.random.default_rng(0).normal(size=(300, 4))
    q /= np.linalg.norm(q, axis=-1, keepdims=True)
    theirs = transform.Rotation.from_quat(q)
    np.testing.assert_allclose(rotations.euler(q), theirs.as_euler("xyz", degrees=True), atol=1e-7)
    np.testing.assert_allclose(rotations.quaternion(rotations.euler(q)), q * np.sign(q[:, 3:]), atol=1e-7)
    product = theirs * transform.Rotation.from_quat(q[::-1])
    np.testing.assert_allclose(rotations.product(q, q[::-1]), product.as_quat(canonical=True), atol=1e-12)
    upright = transform.Rotation.from_euler("xyz", [[20, 90, 50], [30, -90, 10], [170, 90, -170]], degrees=True)
    again = transform.Rotation.from_quat(rotations.quaternion(rotations.euler(upright.as_quat())))
    assert (again.inv() * upright).magnitude().max() < 1e-3


def test_bins_come_back_and_full_turns_meet() -> None:
    bins = np.stack(np.meshgrid(np.arange(72), np.arange(19, 54), [0, 35, 71], indexing="ij"), -1).reshape(-1, 3)
    assert (rotations.to_bins(rotations.from_bins(bins)) == bins).all()
    assert (rotations.from_bins(bins)[:, 3] >= 0).all()
    assert rotations.to_bins(np.array([0.0, 0.0, 1.0, 1e-9]))[2] == 0 and rotations.to_bins(np.array([0.0, 0.0, -1.0, 1e-9]))[2] == 0
    assert rotations.to_bins(np.array([0, 0, 0, 2.0])).tolist() == [36, 36, 36]


def test_a_shift_moves_scene_and_pose_together() -> None:
    rng = np.random.default_rng(0)
    position, quaternion = np.array([0.65, 0.0, 1.0]), rotations.quaternion(np.array([170.0, 20.0, 35.0]))
    points = rng.uniform(BOUNDS[:3], BOUNDS[3:], (50, 3))
    for _ in range(50):
        shift = scene_shift.draw(position[None], BOUNDS, rng)
        assert (abs(shift.translation) <= 0.125).all() and shift.yaw_degrees % 5 == 0 and abs(shift.yaw_degrees) <= 45
        moved, turned = scene_shift.shifted_pose(position, quaternion, shift)
        assert (moved >= BOUNDS[:3]).all() and (moved < BOUNDS[3:]).all()
        seen = scene_shift.shifted_points(points, shift)
        np.testing.assert_allclose(in_frame(seen, moved, turned), in_frame(points, position, quaternion), atol=1e-6)


def in_frame(points: np.ndarray, position: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    """Points as the gripper sees them."""
    x, y, z, w = quaternion
    turn = np.eye(3) + 2 * w * np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn += 2 * np.array([[-y * y - z * z, x * y, x * z], [x * y, -x * x - z * z, y * z], [x * z, y * z, -x * x - y * y]])
    return (points - position) @ turn
