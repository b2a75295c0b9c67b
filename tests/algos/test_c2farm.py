"""How C2F-ARM sees and acts: labels of poses by hand, rows of demonstrations, and that what replay keeps is what was seen and done."""

import numpy as np
import pytest
import torch

import simulators
from algos.lib import scene_shift
from algos.lib.next_best_pose import Choice, Space
from algos.lib.rotations import from_bins, to_bins
from algos.lib.voxels import flat, label, unflat, voxelise
from core.errors import ConfigError
from core.poses import Target, target_of, time_left
from core.types import Keyframes
from manyhands import build
from replay.demos import rows_of
from tests.algos.made import made
from tests.algos.sight import bounds_of, grid_of, points_of, spread

CUBE = Keyframes((0.0, 0.0, 0.0, 1.6, 1.6, 1.6), ("front",), rotation=True, collisions=True)
BLOCKS = simulators.make("blocks:lift", 0, size=16)
DOWN = np.array([1.0, 0.0, 0.0, 0.0])


def c2farm(spec=None, **settings):
    return made("c2farm", 1, spec or BLOCKS.spec, **{"room": 512, "explore": 0.0} | settings)


def target(*position: float, quaternion=DOWN, opened: bool = True, collide: bool = False) -> Target:
    return Target(np.array(position), quaternion, opened, collide, True)


# ---- labels -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("corner", "middle", "fine"), [(False, (0.35, 0.05, 1.55), (6, 8, 10)), (True, (0.3, 0.0, 1.5), (9, 11, 13))], ids=["middle", "corner"]
)
def test_a_label_is_the_voxel_of_each_depth_and_the_next_cube_lies_around_it(corner, middle, fine):
    """Voxels of 0.1 m, then of 0.3 / 16 m; a place on the upper bound is in the last voxel."""
    choice = Space(CUBE, 16, (0.15,), 72, corner=corner).choice(target(0.33, 0.06, 1.6, opened=False, collide=True))
    assert choice.translation.tolist() == [[3, 0, 15], list(fine)]
    np.testing.assert_allclose(choice.centre, [middle], rtol=1e-6, atol=1e-7)
    assert (choice.centre.dtype, choice.grip, choice.collide) == (np.float32, 0, 1)


def test_jitter_moves_the_cube_and_the_label_in_it():
    choice = Space(CUBE, 16, (0.15,), 72).choice(target(0.33, 0.06, 1.6), np.array([[0.1, -0.05, 0.0]]))
    assert choice.translation.tolist() == [[3, 0, 15], [1, 11, 10]]
    np.testing.assert_allclose(choice.centre, [[0.45, 0.0, 1.55]], rtol=1e-6, atol=1e-7)


def test_what_lies_beside_a_grid_is_labelled_by_its_nearest_voxel():
    space = Space(CUBE, 16, (0.15,), 72, corner=True)
    assert space.choice(target(-1.0, 5.0, 0.84)).translation.tolist() == [[0, 15, 8], [0, 15, 10]], "out of the workspace"
    jittered = space.choice(target(0.399, 0.301, 0.84), np.array([[-0.1125, 0.1125, 0.0]]))
    assert jittered.translation[1].tolist() == [15, 2, 10], "the jitter carried the cube away: 0.399 is beyond 0.3375"


@pytest.mark.parametrize("reach", [(), (0.15,), (0.2, 0.05)])
def test_a_pose_comes_back_from_its_choice_within_half_a_voxel_and_half_a_bin(reach):
    draw, space = np.random.default_rng(0), Space(CUBE, 16, reach, 72)
    half = (2 * reach[-1] if reach else 1.6) / 32
    bounded = 0.1 + reach[0] if reach else 0.0
    for position in draw.uniform(bounded, 1.6 - bounded, (200, 3)):
        turned, opened, collide = from_bins(draw.integers(72, size=3)), *(bool(bit) for bit in draw.integers(2, size=2))
        choice = space.choice(target(*position, quaternion=turned, opened=opened, collide=collide))
        again = target_of(CUBE, space.action(choice))
        assert (np.abs(again.position - position) <= half + 1e-6).all()
        assert abs(again.quaternion @ turned) == pytest.approx(1, abs=1e-6)
        assert (again.open, again.ignore_collisions, again.inside) == (opened, collide, True)
        last = len(reach)
        bounds = space.bounds(last, choice.centre[last - 1] if last else np.zeros(3))
        assert label(again.position, bounds, 16).tolist() == choice.translation[last].tolist()


def test_an_action_stays_in_the_workspace_where_its_cube_does_not():
    space = Space(CUBE, 16, (0.15,), 72)
    choice = Choice(np.array([[0, 15, 8], [0, 15, 8]]), np.array([[0.05, 1.55, 0.85]], np.float32), np.zeros(3, np.int64), 1, 0)
    asked = target_of(CUBE, space.action(choice))
    assert asked.inside
    np.testing.assert_allclose(asked.position[:2], [0.0, 1.6], atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "value"), [("rotation_bins", 257), ("voxels", 44), ("reach", (0.1, 0.0)), ("demos", 1.5), ("explore", -0.1), ("room", 0)]
)
def test_settings_that_rows_cannot_hold_are_refused_by_name(setting, value):
    with pytest.raises(ConfigError, match=rf"algo\.{setting}"):
        c2farm(**{setting: value})


# ---- demonstrations ---------------------------------------------------------------------------------------------------------


def demo():
    return BLOCKS.demonstrate(3)


def encoded(algorithm, seed: int = 0, one=None):
    return algorithm.encode_demo(one or demo(), np.random.default_rng(seed))


def test_a_demonstration_is_a_chain_from_every_tenth_frame_with_the_reward_at_its_end():
    one, algorithm = demo(), c2farm()
    chains = encoded(algorithm, one=one)
    starts = list(range(0, int(one.keyframes[-1]), 10))
    assert len(starts) > 2
    dtype = build.row_type(algorithm, BLOCKS.spec)
    for start, chain in zip(starts, chains, strict=True):
        goals = one.keyframes[one.keyframes > start]
        n = len(goals)
        assert len(rows_of(chain, dtype)) == n + 1, "it fits replay"
        assert chain["reward"].tolist() == [0.0] * (n - 1) + [1.0]
        assert chain["terminated"].tolist() == [False] * (n - 1) + [True]
        frames = [one.frames.tolist().index(frame) for frame in (start, *goals)]
        np.testing.assert_array_equal(chain["obs"][:, :-1], one.observations["obs"][frames][:, :-1])
        np.testing.assert_allclose(chain["obs"][:, -1], [time_left(t, BLOCKS.spec.horizon) for t in range(n + 1)])
        for field in algorithm.encoded():
            assert chain[field.name].shape == (n + 1, *field.shape)
            assert chain[field.name].dtype == field.dtype
            assert not chain[field.name][-1].any(), "nobody looks at what follows the end"
            assert field.name == "voxel_missing" or chain[field.name][:-1].any()


@pytest.mark.parametrize("parity", [False, True])
def test_rows_of_a_demonstration_choose_where_the_expert_went_in_the_grids_that_were_seen(parity):
    one, algorithm = demo(), c2farm(voxels=8, parity=parity, jitter=0.5)
    chains, V, first = encoded(algorithm, one=one), 8, BLOCKS.keyframes.bounds
    for chain, start in zip(chains, range(0, 1000, 10), strict=False):
        goals = np.flatnonzero(one.keyframes > start)
        frames = [one.frames.tolist().index(frame) for frame in (start, *one.keyframes[goals])]
        for step, goal in enumerate(goals):
            wanted = target_of(BLOCKS.keyframes, one.actions[goal])
            points, colours = points_of(one.observations, frames[step])
            for depth in range(2):
                box = bounds_of(algorithm, chain, step, depth)
                assert chain["voxel"][step, depth] == flat(label(wanted.position, box, V), V)
                assert torch.equal(grid_of(chain, step, depth, V), spread(voxelise(points, colours, box, V), V))
            side = 0.6 / V
            anchor = np.array(first[:3]) + side * (unflat(chain["voxel"][step, 0], V) + (0 if parity else 0.5))
            assert (np.abs(chain["centre"][step, 0] - anchor) <= 0.5 * 0.15 + 1e-6).all()
            assert chain["rotation"][step].tolist() == to_bins(wanted.quaternion, 4).tolist()
            assert chain["grip"][step] == wanted.open
            did = target_of(BLOCKS.keyframes, chain["action"][step])
            if not parity:
                assert (np.abs(did.position - wanted.position) <= 0.15 / V + 1e-6).all()
    assert sum(chain["voxel_missing"].sum() for chain in chains) == 0


def test_jitter_fills_its_share_and_nothing_beyond_and_without_it_cubes_lie_in_the_middle():
    def off(**settings):
        algorithm = c2farm(demo_copies=20, **settings)
        chains = encoded(algorithm)
        middles = [np.array(BLOCKS.keyframes.bounds[:3]) + 0.15 * (unflat(chain["voxel"][:, 0], 4) + 0.5) for chain in chains]
        return np.concatenate([chain["centre"][:-1, 0] - middle for chain, middle in zip(chains, middles, strict=True)])

    jittered = np.abs(off(jitter=0.4))
    assert 0.055 < jittered.max() <= 0.4 * 0.15 + 1e-6
    assert np.abs(off(jitter=0.0)).max() < 1e-6


def test_copies_have_cubes_of_their_own_and_the_same_generator_gives_the_same_bits():
    once, thrice = encoded(c2farm()), encoded(c2farm(demo_copies=3))
    again = encoded(c2farm(demo_copies=3))
    assert len(thrice) == 3 * len(once)
    for one, other in zip(thrice, again, strict=True):
        assert all(one[name].tobytes() == other[name].tobytes() for name in one)
    first, second = thrice[0], thrice[len(once)]
    assert np.array_equal(first["obs"], second["obs"])
    assert not np.array_equal(first["centre"], second["centre"])


def drawn(one, chain, seed, share):
    """The shift of the first chain of that seed's generator, and its goals."""
    wanted = [target_of(BLOCKS.keyframes, action) for action in one.actions]
    goals = np.stack([target.position for target in wanted])
    return scene_shift.draw(goals, np.array(BLOCKS.keyframes.bounds), np.random.default_rng(seed), share=share, yaw_degrees=45), wanted


def test_a_shifted_scene_has_its_targets_and_its_hand_shifted_with_it():
    """Against the matrix of the turn, with the same draw: where points, goals and hand come to lie, and that nothing is where it was."""
    one, algorithm = demo(), c2farm(voxels=8, shift=0.125, turn=45, jitter=0.0)
    chain, straight = encoded(algorithm, seed=5, one=one)[0], encoded(c2farm(voxels=8, jitter=0.0), seed=5, one=one)[0]
    shift, wanted = drawn(one, chain, 5, 0.125)
    yaw = np.radians(shift.yaw_degrees)
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])

    def moved(points):
        return (points - shift.pivot) @ turn.T + shift.pivot + shift.translation

    for step in range(len(chain["reward"])):
        goal = moved(wanted[step].position)
        points, colours = points_of(one.observations, one.frames.tolist().index((0, *one.keyframes)[step]))
        for depth in range(2):
            box = bounds_of(algorithm, chain, step, depth)
            assert chain["voxel"][step, depth] == flat(label(goal, box, 8), 8)
            have, want = grid_of(chain, step, depth, 8), spread(voxelise(moved(points).astype(np.float32), colours, box, 8), 8)
            assert (have - want).abs().amax(-1).gt(1e-4).float().mean() < 0.01, "but for points on the border of two voxels"
        did = target_of(BLOCKS.keyframes, chain["action"][step])
        assert (np.abs(did.position - goal) <= 0.15 / 8 + 1e-6).all()
    np.testing.assert_allclose(chain["obs"][:, 1:4], moved(straight["obs"][:, 1:4].astype(np.float64)), atol=1e-6)
    np.testing.assert_array_equal(chain["obs"][:, [0, -1]], straight["obs"][:, [0, -1]])
    assert shift.yaw_degrees
    assert (np.abs(shift.translation) > 0.15 / 8).any()


def test_a_shift_of_a_demonstration_turns_its_rotations_by_the_same_angle():
    algorithm = c2farm(turn=45, rotation_bins=72, jitter=0.0)
    straight, shifted = (encoded(one, seed=1)[0] for one in (c2farm(rotation_bins=72, jitter=0.0), algorithm))
    yaw = drawn(demo(), shifted, 1, 0.0)[0].yaw_degrees
    assert yaw
    for step in range(len(straight["reward"])):
        by = (shifted["rotation"][step].astype(int) - straight["rotation"][step]) % 72
        assert by[2] in [round(yaw / 5 + off) % 72 for off in (-1, 0, 1)] and not by[:2].any()


def test_a_jittered_cube_still_holds_the_voxel_before_it():
    """Where cubes are small: half a voxel of the depth before and three quarters of the reach are more than the reach."""
    space, rng = c2farm(voxels=8, reach=(0.07, 0.02)).space, np.random.default_rng(0)
    most = space.jitter(0.75)
    np.testing.assert_allclose(most[:, 0], [0.07 - 0.6 / 16, 0.02 - 0.14 / 16])
    np.testing.assert_allclose(c2farm(voxels=8, reach=(0.15, 0.15)).space.jitter(0.5)[0, 0], 0.075)
    for _ in range(200):
        wanted = target_of(BLOCKS.keyframes, rng.uniform(-0.8, 0.8, 8))
        choice = space.choice(wanted, rng.uniform(-1, 1, (2, 3)) * most)
        assert (np.abs(space.position(choice) - wanted.position) <= 0.02 / 8 + 1e-6).all()
