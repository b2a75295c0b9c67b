"""Stands for the compiled part: loads only where the dynamic linker would find CoppeliaSim. Its library is a kinematic world of balls."""

from __future__ import annotations

import os
import threading

import numpy as np
import rlbench_double
from rlbench_double import Misuse

_root = os.environ.get("COPPELIASIM_ROOT", "")
if not _root or _root not in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep):
    raise ImportError("libcoppeliaSim.so.1: cannot open shared object file: No such file or directory")

BASE = np.array([-0.3, 0.0, 0.8])
"""where the arm stands"""
HOME = np.array([0.28, 0.0, 1.45, 1.0, 0.0, 0.0, 0.0])
TABLE_M, STEP_S = 0.75, 0.05


class Ball:
    """A thing. RLBench's have many shapes; here all are balls."""

    def __init__(self, name, centre, radius, colour, collidable=True):
        self.name, self.centre, self.radius = name, np.array(centre, float), radius
        self.colour, self.collidable = np.array(colour, float), collidable


class World:
    """All that is simulated. One per process; only the thread that launched it may touch it."""

    def __init__(self):
        self.owner = None
        self.running = False

    def launch(self):
        if self.owner is not None:
            raise Misuse("CoppeliaSim was launched twice in one process")
        if not os.environ.get("DISPLAY"):
            raise Misuse("qt.qpa.xcb: could not connect to display; Aborted (core dumped)")
        if not os.environ.get("QT_QPA_PLATFORM_PLUGIN_PATH"):
            raise Misuse("This application failed to start because no Qt platform plugin could be initialized; Aborted (core dumped)")
        self.owner, self.running = (os.getpid(), threading.get_ident()), False
        self.balls, self.removed, self.held, self.steps = {}, set(), None, 0
        self.tip, self.before, self.amount = HOME.copy(), HOME.copy(), 1.0

    def check(self):
        """Whoever is not its owner would crash it."""
        if self.owner is None:
            raise Misuse("CoppeliaSim is not launched")
        if self.owner != (os.getpid(), threading.get_ident()):
            raise Misuse("CoppeliaSim is used by another process or thread than the one that launched it")

    def step(self):
        self.check()
        rlbench_double.done["simulation_step"] += 1
        self.steps += self.running
        self.before = self.tip.copy()

    def move(self, pose):
        """The tip, with what the gripper holds."""
        self.before, pose = self.tip, np.array(pose, float)
        if self.held:
            self.balls[self.held].centre += pose[:3] - self.tip[:3]
        self.tip = pose

    def joints(self, pose):
        """(7,) rad: some function of the pose of the tip."""
        return np.concatenate([2 * (pose[:3] - BASE), pose[3:]])


world = World()
ffi = lib = None
"""of the real one; nothing of ours may touch them"""
