"""What we rely on in other people's packages, beyond what they promise: if an upgrade changes it, this says so first."""

import os
import shutil
import threading
import warnings

import numpy as np
import pytest
import torch


def test_index_select_reads_overlapping_windows_without_a_copy():
    """The sampler's source is a view of 360 GB over 4 MB: whoever made it contiguous first would run out of memory."""
    flat = torch.arange(1_000_000, dtype=torch.float32)
    windows = flat.as_strided((900_000, 100_000), (1, 1))
    places, out = torch.tensor([5, 899_999, 17], dtype=torch.int32), torch.empty(3, 100_000)
    torch.index_select(windows, 0, places, out=out)
    assert out[:, 0].tolist() == [5, 899_999, 17]
    assert torch.equal(out[0], flat[5:100_005])


def test_torch_views_shared_memory_that_numpy_maps():
    """A read-only array becomes a tensor over the same memory: later writes of the owner are seen."""
    owner = np.zeros(8, np.float32)
    view = owner.view()
    view.flags.writeable = False
    with warnings.catch_warnings():  # torch says once per process that the array is not writable
        warnings.simplefilter("ignore")
        tensor = torch.from_numpy(view)
    owner[3] = 7
    assert tensor[3] == 7


def test_a_gradient_by_torch_func_is_traced_into_one_graph():
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph.forward

    def update(w, x):
        gradient, loss = torch.func.grad_and_value(lambda w: (x @ w).square().mean())(w)
        return w - 0.1 * gradient, loss

    w, x = torch.randn(4, 2), torch.randn(8, 4)
    compiled = torch.compile(update, backend=count, fullgraph=True, dynamic=False)
    for got, want in zip(compiled(w, x), update(w, x), strict=True):
        torch.testing.assert_close(got, want)
    assert len(graphs) == 1


def test_guards_can_be_left_out_after_the_first_call():
    compiled = torch.compile(lambda x: x + 1, backend="eager", fullgraph=True, dynamic=False)
    compiled(torch.zeros(3))
    with torch.compiler.set_stance(skip_guard_eval_unsafe=True):
        assert compiled(torch.ones(3)).tolist() == [2, 2, 2]


def test_the_number_of_threads_belongs_to_the_thread_that_sets_it():
    """OpenMP's setting: why a learner has to stay in the thread that made it, and why compiling sets it again in its own."""
    before, seen = torch.get_num_threads(), []
    other = threading.Thread(target=lambda: (torch.set_num_threads(1), seen.append(torch.get_num_threads())))
    other.start()
    other.join()
    assert seen == [1]
    assert torch.get_num_threads() == before


@pytest.mark.metaworld
def test_metaworld_ignores_the_seed_of_reset():
    from metaworld.env_dict import ENV_CLS_MAP

    env = ENV_CLS_MAP["reach-v3"]()
    env._set_task_called = True
    env._freeze_rand_vec = False
    drawn = []
    for _ in range(2):
        env.reset(seed=3)
        drawn.append(env._last_rand_vec.copy())
    assert not np.array_equal(*drawn)
    env._freeze_rand_vec = True
    env.reset(seed=4)
    assert np.array_equal(env._last_rand_vec, drawn[1])


def test_gymnasium_seeds_an_episode_by_reset():
    gymnasium = pytest.importorskip("gymnasium")
    env = gymnasium.make("Pendulum-v1")
    assert np.array_equal(env.reset(seed=3)[0], env.reset(seed=3)[0])
    assert not np.array_equal(env.reset(seed=3)[0], env.reset(seed=4)[0])


# ---- ray --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ray():
    backend = pytest.importorskip("manyhands.backends.ray_backend")
    folder = backend.connect()
    yield backend.ray
    backend.ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.ray
def test_ray_gives_large_arrays_without_a_copy_and_read_only(ray):
    """Weights in the object store are shared by all actors of a node, and none can change them."""
    ref = ray.put({"w": np.ones(1_000_000, np.float32)})
    one, other = ray.get(ref)["w"], ray.get(ref)["w"]
    assert np.shares_memory(one, other)
    assert not one.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        one[0] = 2


@pytest.mark.ray
def test_ray_sets_one_thread_unless_told_and_calls_in_the_main_thread_unless_grouped(ray):
    def about() -> tuple[str | None, bool]:
        return os.environ.get("OMP_NUM_THREADS"), threading.current_thread() is threading.main_thread()

    class Host:
        def call(self, fn):
            return fn()

    plain = ray.remote(num_cpus=0)(Host).remote()
    told = ray.remote(num_cpus=0, runtime_env={"env_vars": {"OMP_NUM_THREADS": "2"}})(Host).remote()
    grouped = ray.remote(num_cpus=0, concurrency_groups={"beside": 1})(Host).remote()
    assert ray.get([host.call.remote(about) for host in (plain, told, grouped)]) == [("1", True), ("2", True), ("1", False)]


@pytest.mark.ray
def test_ray_turns_authentication_on_by_itself_and_takes_our_token(ray):
    """We set the token only: the mode is read when ray is loaded, and set again by the start of a private cluster."""
    assert ray.is_initialized()
    assert os.environ["RAY_AUTH_TOKEN"]
    assert os.environ["RAY_AUTH_MODE"] == "token"
