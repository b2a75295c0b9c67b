"""How C2F-ARM acts: what replay keeps is what was seen and done, bit by bit, with and without exploration."""

import numpy as np
import pytest
import torch

from algos.lib import grids
from algos.lib.coarse_to_fine import greedy
from algos.lib.next_best_pose import Choice
from algos.lib.qattention import plain
from algos.lib.voxels import Sparse, flat, unflat, voxelise
from tests.algos.made import SIGHT, made, params, seen
from tests.algos.sight import bounds_of, grid_of, points_of, spread

BOUNDS = SIGHT.keyframes.bounds


def acted(algorithm, noise=None, N: int = 3):
    """Of an untrained policy: its parameters, what it saw, its actions and its columns."""
    own, now = params(algorithm, algorithm.init([0])), seen(N, sight=True)
    action, _, columns = algorithm.act(own, None, now, noise)
    return own, now, action, columns


def best(algorithm, own, now, columns, depth: int):
    """By the plain network, on what is kept."""
    network = {name.removeprefix(f"{depth}/"): torch.from_numpy(leaf) for name, leaf in own.items() if name.startswith(f"{depth}/")}
    record = {name: torch.from_numpy(value) for name, value in columns.items()}
    sizes = algorithm.sizes[depth]
    values = plain(network, grids.unpack(record, depth, algorithm.config.voxels), torch.from_numpy(now.obs), sizes)
    voxel, heads = greedy(values, sizes.heads)
    return unflat(voxel.numpy(), algorithm.config.voxels), heads.numpy()


def heads_in(columns):
    return np.concatenate([columns["rotation"], columns["grip"][:, None]], 1)


def sight(**settings):
    return made("c2farm", 1, **{"voxels": 8, "room": 512, "explore": 0.0} | settings)


@pytest.mark.parametrize("reach", [(), (0.15,), (0.2, 0.05)])
def test_columns_are_what_the_actor_saw_and_the_best_of_what_the_networks_say_of_it(reach):
    algorithm = sight(reach=reach)
    own, now, action, columns = acted(algorithm)
    for i in range(3):
        points, colours = points_of(now.fields, i)
        for depth in range(algorithm.depths):
            exact = spread(voxelise(points, colours, bounds_of(algorithm, columns, i, depth), 8), 8)
            assert torch.equal(grid_of(columns, i, depth, 8), exact)
        assert columns["voxel_missing"][i] == 0
    for depth in range(algorithm.depths):
        voxel, heads = best(algorithm, own, now, columns, depth)
        assert columns["voxel"][:, depth].tolist() == flat(voxel, 8).tolist()
    assert np.array_equal(heads_in(columns), heads)
    for i in range(3):
        choice = Choice(unflat(columns["voxel"][i], 8), columns["centre"][i], columns["rotation"][i], int(columns["grip"][i]), 0)
        np.testing.assert_array_equal(action[i], algorithm.space.action(choice))


def test_a_room_too_small_leaves_out_coarse_voxels_first_and_counts_them():
    whole, small = (acted(sight(room=room), N=2)[3] for room in (512, 18))
    coarse, fine = whole["voxel_count"].T.astype(int)
    assert (fine > 5).all() and (fine < 18).all() and (coarse + fine > 18).all(), "the case that is meant"
    assert small["voxel_missing"].tolist() == (coarse + fine - 18).tolist()
    assert small["voxel_count"].tolist() == np.stack([18 - fine, fine], 1).tolist()
    for i in range(2):
        assert torch.equal(grid_of(small, i, 1, 8), grid_of(whole, i, 1, 8))
        kept = grid_of(small, i, 0, 8)[..., -1].flatten().nonzero()[:, 0].tolist()
        assert kept == whole["voxel_index"][i, : 18 - fine[i]].tolist(), "the first of the x axis"
    assert acted(sight(room=5), N=2)[3]["voxel_count"].tolist() == [[0, 5]] * 2
    assert np.array_equal(small["voxel"], whole["voxel"]), "who acts sees all"


def test_more_voxels_without_room_than_can_be_counted_are_counted_as_that_many():
    full = Sparse(np.arange(40**3, dtype=np.uint16), np.ones((40**3, 6), np.float32))
    record = grids.pack([full, full], 10)
    assert record["voxel_missing"] == 65535
    assert record["voxel_count"].tolist() == [0, 10]


def test_without_exploration_noise_changes_nothing():
    noise = np.full((3, sight().noise_dim), -3.0, np.float32)
    still, noisy = acted(sight()), acted(sight(), noise)
    assert all(still[3][name].tobytes() == noisy[3][name].tobytes() for name in still[3])


def test_exploration_disturbs_each_depth_in_the_cube_of_the_one_before_by_rounded_noise():
    algorithm = sight(explore=1.0, reach=(0.15,))
    noise = np.random.default_rng(2).normal(0, 2, (8, algorithm.noise_dim)).astype(np.float32)
    own, now, _, columns = acted(algorithm, noise, 8)
    for depth in range(2):
        voxel, heads = best(algorithm, own, now, columns, depth)
        shift = np.round(noise[:, 1 + 3 * depth : 4 + 3 * depth]).astype(int)
        assert shift.any()
        assert columns["voxel"][:, depth].tolist() == flat(np.clip(voxel + shift, 0, 7), 8).tolist()
    middles = np.array(BOUNDS[:3]) + 0.6 / 8 * (unflat(columns["voxel"][:, 0], 8) + 0.5)
    np.testing.assert_allclose(columns["centre"][:, 0], middles, atol=1e-6)
    shift, anew = noise[:, 7:11], noise[:, 11:15]
    assert np.array_equal(columns["rotation"], (heads[:, :3] + np.round(shift[:, :3]).astype(int)) % 4)
    redrawn = anew[:, 3] < -0.8416212  # 1 in 5
    assert redrawn.any() and not redrawn.all()
    assert columns["grip"].tolist() == np.where(redrawn, shift[:, 3] > 0, heads[:, 3]).tolist()


def test_exploration_disturbs_the_share_of_actions_that_it_is_told():
    noise = np.random.default_rng(2).normal(0, 1, (8, sight().noise_dim)).astype(np.float32)
    noise[:, 0] = np.linspace(-1, 1, 8)
    some, all_of, none = (acted(sight(explore=share), noise, 8)[2] for share in (0.3, 1.0, 0.0))
    disturbed = noise[:, 0] < -0.5244005  # 3 in 10
    assert 0 < disturbed.sum() < 8
    np.testing.assert_array_equal(some, np.where(disturbed[:, None], all_of, none))
    assert (all_of != none).any(1).all()


def test_a_closing_observation_is_encoded_as_one_on_which_somebody_acts():
    algorithm = sight(explore=1.0)
    own, now, _, columns = acted(algorithm)
    closing = algorithm.encode(own, now)
    assert closing.keys() == {field.name for field in algorithm.encoded()}
    assert all(closing[name].tobytes() == columns[name].tobytes() for name in closing)
