"""Who shows how it is done: keyframes one after the other, chosen by looking at where everything is.

Meta-World's scripted policies never stop between their phases, so keyframes cannot be found in what they do. But each knows where it is
going: the hand goes there and stops, then the fingers do what the policy would, and then it is asked again.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulators.metaworld.experts import expert, waypoint
from simulators.metaworld_vision.hand import TOLERANCE_M, Hand

_NONE = (0.0, 0.0, 0.0)
_AIM: dict[str, tuple[tuple[float, float, float], ...]] = {
    "reach-v3": ((0, 0, 0.045),),  # so much hangs below the hand what is to reach the goal
    "button-press-topdown-v3": (_NONE, (0, 0, -0.08)),
    "faucet-open-v3": (_NONE, _NONE, (0.08, 0.12, 0)),
    "stick-push-v3": ((0, 0, 0.03), _NONE),  # any lower the fingers close too early
    "window-close-v3": (_NONE, _NONE, _NONE, (-0.15, 0, 0)),
}
"""metres by which each keyframe, and the last of these every later one, is aimed beyond the scripted one: the policy is always on its way
there, a keyframe has to be good enough with a policy's error"""


class Keyframe(NamedTuple):
    """Where to go next."""

    target: NDArray[np.float64]
    """(3,) metres"""
    opened: Callable[[], bool]
    """whether the fingers are to be open, asked when the hand is there"""


def keyframes(hand: Hand) -> Iterator[Keyframe]:
    """Endless; each is decided when it is asked for, after the one before it was gone to."""
    task = hand.world.task
    found = _box_close(hand) if task == "box-close-v3" else _scripted(hand, _AIM.get(task, (_NONE,)))
    beyond = TOLERANCE_M - 0.02
    low, high = hand.low + TOLERANCE_M - beyond, hand.high - TOLERANCE_M + beyond
    for target, opened in found:
        yield Keyframe(np.clip(target, low, high), opened)


def _scripted(hand: Hand, aim: tuple[tuple[float, float, float], ...]) -> Iterator[Keyframe]:
    going, act = waypoint(hand.world.task), expert(hand.world.task)
    number = 0
    while True:
        yield Keyframe(going(hand.obs) + aim[min(number, len(aim) - 1)], lambda: act(hand.obs)[3] <= 0)
        number += 1


def _box_close(hand: Hand) -> Iterator[Keyframe]:
    """The scripted policy asks for 1 cm where a grip needs none, and carries the lid lower than the box is high."""
    lid, box = hand.obs[4:6].copy(), hand.obs[-3:-1].copy()
    carried, grip, put = 0.24, hand.obs[6] + 0.02, 0.15
    for xy, z, opened in ((lid, carried, True), (lid, grip, False), (lid, carried, False), (box, carried, False)):
        yield Keyframe(np.array([*xy, z]), (lambda: True) if opened else (lambda: False))
    while True:
        yield Keyframe(np.array([*box, put]), lambda: False)
