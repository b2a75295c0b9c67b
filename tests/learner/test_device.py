"""The device and the launcher, as far as they go without a GPU; the rest is in test_gpu.py."""

import pytest
import torch

from core.errors import ConfigError
from learner.device import choose
from learner.graph import Launcher
from learner.settings import Config
from tests.learner.fakes import learner


def test_impossible_settings_are_refused():
    for settings in ({"device": "gpu"}, {"device": "cuda:x"}, {"cuda_graph": "yes"}, {"updates_per_launch": 0}, {"metrics_every": 0}):
        with pytest.raises(ConfigError, match=f"learner.{next(iter(settings))}"):
            Config(**settings)
    for fraction in (0.0, 1.5):
        with pytest.raises(ConfigError, match="memory_fraction"):
            Config(memory_fraction=fraction)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused():
    assert choose("auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match="no CUDA device"):
        choose("cuda")
    with pytest.raises(ConfigError, match=r"cuda:3.*no CUDA device"):
        learner(0, device="cuda:3")


@pytest.mark.parametrize(("here", "name", "index"), [(2, "auto", 1), (2, "cuda", 1), (2, "cuda:0", 0), (2, "cuda:2", None)])
def test_names_of_gpus(monkeypatch, here, name, index):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: here)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: f"H{i}")
    if index is None:
        with pytest.raises(ConfigError, match=r"cuda:0 \(H0\), cuda:1 \(H1\)"):
            choose(name)
    else:
        assert choose(name) == torch.device("cuda", index)


def test_warming_up_a_launcher_leaves_state_and_generators_as_they_were():
    state, generator = {"x": torch.zeros(3)}, torch.Generator().manual_seed(0)

    def function():
        state["x"] += torch.rand(3, generator=generator)
        return {"sum": state["x"].sum()[None]}

    launcher = Launcher(function, state, [generator], capture=False)
    launcher()
    before, drawn = state["x"].clone(), generator.get_state()
    launcher.warm_up()
    assert torch.equal(state["x"], before)
    assert torch.equal(generator.get_state(), drawn)


def test_the_learner_says_where_it_is():
    text = learner(0, 1).describe()
    assert "2 seeds" in text and "eager" in text and "threads" in text
    assert learner(0).describe().startswith("learner: 1 threads")
