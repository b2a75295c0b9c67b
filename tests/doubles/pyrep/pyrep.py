"""The simulator's life."""

from __future__ import annotations

import os

import rlbench_double

from pyrep.backend._sim_cffi import world
from pyrep.const import Verbosity
from pyrep.errors import PyRepError


class PyRep(rlbench_double.Strict):
    def __init__(self):
        self.running = False
        self.connected = False
        self._ui_thread = None
        if "COPPELIASIM_ROOT" not in os.environ:
            raise PyRepError("COPPELIASIM_ROOT not defined. See installation instructions.")
        self._vrep_root = os.environ["COPPELIASIM_ROOT"]
        if not os.path.exists(self._vrep_root):
            raise PyRepError("COPPELIASIM_ROOT was not a correct path. See installation instructions")

    def launch(self, scene_file="", headless=False, responsive_ui=False, blocking=False, verbosity=Verbosity.NONE):
        abs_scene_file = os.path.abspath(scene_file)
        if len(scene_file) > 0 and not os.path.isfile(abs_scene_file):
            raise PyRepError(f"Scene file does not exist: {scene_file}")
        cwd = os.getcwd()
        os.chdir(self._vrep_root)
        rlbench_double.reached("launch")
        world.launch()
        self._ui_thread = True
        os.chdir(cwd)

    def shutdown(self):
        if self._ui_thread is None:
            raise PyRepError("CoppeliaSim has not been launched. Call launch first.")
        world.check()
        rlbench_double.reached("shutdown")
        world.owner = None
        self._ui_thread = None
        self.running = False

    def start(self):
        if self._ui_thread is None:
            raise PyRepError("CoppeliaSim has not been launched. Call launch first.")
        world.check()
        self.running = world.running = True

    def stop(self):
        if self._ui_thread is None:
            raise PyRepError("CoppeliaSim has not been launched. Call launch first.")
        self.running = world.running = False

    def step(self):
        world.step()

    def step_ui(self):
        world.check()

    def get_simulation_timestep(self):
        return 0.05
