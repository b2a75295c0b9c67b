"""The whole life of one RLBench simulator: launch, episodes of next-best poses, live demonstrations, shutdown. docs/rlbench.md.

One per process, used by the thread that made it, and never over a fork: CoppeliaSim survives none of these. Deadlines are the caller's.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import threading
from typing import Any, Dict, Iterator

import numpy as np

from outpost import Failed, display, poses
from outpost.rlbench_backend import Backend, NoDemo, Unplaceable, Unreachable
from outpost.rlbench_draws import Draws, variation_of
from outpost.rlbench_film import Film, wanted
from outpost.rlbench_options import BOUNDS, FieldOf, Settings, fields, settings
from outpost.rlbench_seen import motion, observed, stacked
from outpost.rlbench_versions import versions

__all__ = ["BOUNDS", "FieldOf", "RLBench", "Settings", "fields", "settings"]

PLACINGS = 5
"""draws of an episode, each with RLBench's own 40 tries, before it is given up"""
Seen = Dict[str, np.ndarray]

_living: RLBench | None = None


class RLBench:
    """One task. The reward is 1 at success, which ends the episode, else 0, and ``penalty`` where a target cannot be reached.

    Args:
        task: ``reach_target``.
        seed: 0 and up. With the number of an episode it says where things are.
        options: of ``outpost.rlbench_options.Settings``.

    Raises:
        Failed: an option cannot be, something is not installed, or the simulator does not start.
    """

    def __init__(self, task: str, seed: int, **options: Any) -> None:
        global _living
        self.task, self.seed, self.settings = task, seed, settings(**options)
        if _living is not None:
            raise Failed(
                f"this process has a simulator of {_living.task} already, and CoppeliaSim allows one: close it, or start a process"
            )
        self._owner = (os.getpid(), threading.get_ident())
        self._draws, self._film = Draws(), Film(self.settings.cameras)
        if seed < 0:
            raise Failed(f"simulator seed {seed} of {task} is negative. Allowed: 0 and up")
        self._last: Seen | None = None
        self._t, self._variations, self._broken = 0, 1, False
        display.keep()
        self._backend: Backend | None = None
        _living = self
        try:
            self._launch()
        except BaseException:
            self.close()
            raise

    def reset(self, episode: int) -> Seen:
        """The first observation of an episode. Where things are is a function of (seed, episode), as far as RLBench's physics are one.

        Raises:
            Failed: retryable; RLBench finds no place for things, or something else went wrong.
        """
        self._last = None
        observation = self._placed(episode, self._fresh().reset)
        self._last, self._t = observed(observation, self.settings, 0), 0
        return self._last

    def step(self, action: np.ndarray) -> tuple[Seen, float, bool, bool, bool]:
        """Observation, reward, terminated, truncated, success of an env step.

        Args:
            action: (8,) in [-1, 1], position scaled from ``BOUNDS``, quaternion xyzw, gripper, above 0 open; (9,) with ``collisions``.

        Raises:
            Failed: no episode was begun, the action has another shape, or, retryable, something went wrong inside.
        """
        backend = self._simulator()
        if self._last is None:
            raise Failed("no episode was begun: call reset before step")
        if np.shape(action) != (self.settings.action_dim,):
            raise Failed(f"an action of {self.task} has shape {np.shape(action)}. Allowed: ({self.settings.action_dim},)")
        self._t += 1
        target = poses.target(action, BOUNDS, collisions=self.settings.collisions)
        if not target.inside or target.quaternion is None:
            return self._unreached()
        ignore = target.ignore_collisions or not self.settings.collisions
        pose = np.concatenate([target.position, target.quaternion])
        try:
            with self._inside("step"):
                observation, success, ended = backend.step(pose, target.open, ignore)
        except Unreachable:
            return self._unreached()
        self._last = observed(observation, self.settings, self._t)
        return self._last, float(success), ended, not ended and self._t >= self.settings.horizon, success

    def demonstrate(self, episode: int) -> dict[str, Any]:
        """RLBench's expert in the episode that ``reset`` begins: what ``core.demos.Demo`` keeps, by name.

        ``motion`` (T, ...) of every frame; ``observations`` (F, ...) of the ``frames`` (F,), the first, the last, every tenth and all
        ``keyframes`` (k,); ``success``, ``info``.

        Raises:
            Failed: retryable; the expert failed in this episode, or something went wrong.
        """
        self._last = None
        backend = self._fresh()
        self._film.roll()
        try:
            demo = self._placed(episode, backend.demo)
        except NoDemo as error:
            raise Failed(f"the expert of {self.task} failed in episode {episode}: {error}", retryable=True) from error
        finally:
            self._film.cut()
        return self._told(demo, episode)

    def close(self) -> None:
        """Ends the simulator. May be called twice."""
        global _living
        if os.getpid() != self._owner[0]:
            return  # a forked child: the simulator is the parent's
        backend, self._backend = self._backend, None
        try:
            if backend is not None:
                with self._inside("shutdown"):
                    backend.shutdown()
        finally:
            self._broken = False
            if _living is self:
                _living = None

    def _launch(self) -> None:
        asked = self.settings.variation
        with self._inside("launch"):
            self._backend = Backend(self.task, self.settings, self._film)
            if asked:
                self._variations = self._backend.variations()
        if not asked < self._variations:
            raise Failed(f"{self.task} has {self._variations} variations, 0 to {self._variations - 1}; {asked} is none of them")
        self._broken = False

    def _fresh(self) -> Backend:
        """For a new episode: launched anew where something inside went wrong, of which the scene may not recover."""
        self._check_owner()
        if self._broken:
            backend, self._backend = self._backend, None
            if backend is not None:
                with contextlib.suppress(Failed), self._inside("shutdown"):
                    backend.shutdown()
            self._launch()
        return self._simulator()

    def _placed(self, episode: int, begin: Any) -> Any:
        """What ``begin(variation)`` returns once RLBench finds a place for everything: further draws of the same variation."""
        variation = self._variation(episode)
        problem = ""
        for attempt in range(PLACINGS):
            self._draws.begin(self.seed, episode, attempt)
            try:
                with self._inside(f"episode {episode}"):
                    return begin(variation)
            except Unplaceable as error:
                problem = str(error)
                if self._film.rolling:
                    self._film.roll()
        raise Failed(f"{self.task} cannot be placed in episode {episode}, tried {PLACINGS} times: {problem}", retryable=True)

    def _variation(self, episode: int) -> int:
        asked = self.settings.variation
        return variation_of(self.seed, episode, self._variations) if asked < 0 else asked

    def _told(self, demo: list[Any], episode: int) -> dict[str, Any]:
        """The demonstration, of which nothing else is kept."""
        moved = motion(demo)
        keyframes = poses.keyframes(moved["gripper_open"], moved["joint_velocities"])
        frames = [frame for frame in wanted(len(demo), keyframes) if self._film.has_pictures(demo[frame])]
        if len(demo) < 2 or not {0, *keyframes.tolist()} <= set(frames):
            raise Failed(f"the demonstration of {self.task} in episode {episode} has no whole observation where one is due", retryable=True)
        seen = []
        for frame in frames:
            seen.append(observed(demo[frame], self.settings, 0))
            demo[frame] = None
        told = {"simulator": "rlbench", "seed": str(self.seed), "variation": str(episode), **versions()}
        told.update(rlbench_variation=str(self._variation(episode)), description=self._film.description)
        return {
            "motion": moved,
            "frames": np.array(frames, np.int64),
            "observations": stacked(seen),
            "keyframes": keyframes,
            "success": True,  # RLBench raises where it is not
            "info": told,
        }

    def _unreached(self) -> tuple[Seen, float, bool, bool, bool]:
        assert self._last is not None
        return self._last, float(self.settings.penalty), True, False, False

    def _check_owner(self) -> None:
        if (os.getpid(), threading.get_ident()) != self._owner:
            raise Failed(f"the simulator of {self.task} is used by another process or thread than the one that made it")

    def _simulator(self) -> Backend:
        self._check_owner()
        if self._backend is None:
            raise Failed(f"the simulator of {self.task} was closed")
        return self._backend

    @contextlib.contextmanager
    def _inside(self, where: str) -> Iterator[None]:
        """Within, RLBench has random numbers of its own, its prints go nowhere, and whatever it raises is told as one line."""
        with self._draws.mine(), contextlib.redirect_stdout(io.StringIO()):
            try:
                yield
            except (Failed, Unreachable, Unplaceable, NoDemo):
                raise
            except Exception as error:
                self._broken = True
                words = " ".join(str(error).split())
                raise Failed(f"RLBench failed at {where} of {self.task}: {type(error).__name__}: {words}", retryable=True) from error


@atexit.register
def _leave() -> None:
    """A process that ends with a simulator ends in noise, or not at all; one that is broken may not be shut down."""
    left = _living
    if left is not None and not left._broken and left._owner == (os.getpid(), threading.get_ident()):
        with contextlib.suppress(Failed):
            left.close()
