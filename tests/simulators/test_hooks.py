"""What modules say of themselves, asked: what is missing, how many play side by side, how much memory they take."""

import pytest

from core.errors import MissingExtra
from simulators import dummy, hooks
from simulators.pool import SimulatorPool


def test_what_is_missing_is_said_before_a_process_is_started(monkeypatch):
    monkeypatch.setattr(dummy, "missing", lambda: "the dummy is out of stock", raising=False)
    hooks.require(["blocks:touch"])
    for ask in (lambda: hooks.require(["blocks:touch", "dummy:point"]), lambda: SimulatorPool("dummy:point", [0])):
        with pytest.raises(MissingExtra, match="out of stock"):
            ask()


def test_those_that_need_a_process_each_are_as_many_as_there_may_be(monkeypatch):
    assert hooks.side_by_side(["dummy:point"], 20, 2) == 20
    monkeypatch.setattr(dummy, "ONE_PER_PROCESS", True, raising=False)
    assert [hooks.side_by_side(["dummy:point"] * n, 20, p) for n, p in ((1, 2), (5, 2), (1, 40))] == [2, 2, 20]
    assert hooks.side_by_side(["dummy:point", "dummy:still"], 20, 4) == 2
    assert hooks.side_by_side(["dummy:point", "dummy:still", "blocks:touch"], 20, 2) == 1, "at least one of each"


def test_memory_of_a_process():
    assert hooks.megabytes("dummy:point", {}) == 0
    one, five = (hooks.megabytes("rlbench:reach_target", {"cameras": cameras}) for cameras in (1, 5))
    assert 158 < one < five == 300
