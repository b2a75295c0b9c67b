"""Draws a state of one MuJoCo model as image, depth and mask: one pass for colour and depth, without what only costs.

Shadows, reflections and smoothing are off: on a CPU they are most of the time of a frame, and a policy at 128 x 128 needs none of them.
"""

import atexit
from collections import OrderedDict
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulators.metaworld_vision import gl
from simulators.metaworld_vision.cameras import View

_OFF = ("mjRND_SHADOW", "mjRND_REFLECTION", "mjRND_SKYBOX", "mjRND_HAZE")
"""what is left out of the image"""
_GEOMS = 10000
_CANVASES: OrderedDict[tuple[int, int], "Canvas"] = OrderedDict()
_KEPT = 64
"""canvases of a process, some tens of MB each"""


class Picture(NamedTuple):
    """What one camera sees."""

    rgb: NDArray[np.uint8]
    """(size, size, 3)"""
    depth: NDArray[np.float32]
    """(size, size) metres along the camera's axis"""
    mask: NDArray[np.int32] | None
    """(size, size), number of the body in the model, -1 where there is nothing"""


def canvas(model: Any, size: int) -> "Canvas":
    """The canvas of a model: one per process, made at the first image, because a context belongs to the process that made it."""
    key = model._address, size
    if key not in _CANVASES:
        _CANVASES[key] = Canvas(model, size)
        if len(_CANVASES) > _KEPT:
            _CANVASES.popitem(last=False)[1].close()
    _CANVASES.move_to_end(key)
    return _CANVASES[key]


@cache
def _close_at_exit() -> None:
    """What is registered last is called first: MuJoCo's own, which ends EGL, is registered with the first context."""
    atexit.register(_close_all)


def _close_all() -> None:
    """While OpenGL is still there: later, freeing a context prints errors."""
    while _CANVASES:
        _CANVASES.popitem()[1].close()


class Canvas:
    """Scene, textures and buffers of a model, for square images of one size."""

    def __init__(self, model: Any, size: int) -> None:
        mujoco: Any = import_module("mujoco")
        self.mujoco, self.model, self.size = mujoco, model, size
        # One for each model: two models in one context disturb each other's images.
        self.gl = gl.context(size)
        _close_at_exit()
        self.gl.make_current()
        model.vis.quality.offsamples = model.vis.quality.shadowsize = 0
        model.vis.global_.offwidth = model.vis.global_.offheight = size
        self.scene = mujoco.MjvScene(model, maxgeom=_GEOMS)
        self.camera, self.option, self.perturb = mujoco.MjvCamera(), mujoco.MjvOption(), mujoco.MjvPerturb()
        self.shown_sites = self.option.sitegroup.copy()
        self.context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        # Floats are densest near zero, and so should be the depths that are far away.
        self.context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self.context)
        self.viewport = mujoco.MjrRect(0, 0, size, size)
        for flag in _OFF:
            self.scene.flags[getattr(mujoco.mjtRndFlag, flag)] = False
        extent = model.stat.extent
        self.near, self.far = model.vis.map.znear * extent, model.vis.map.zfar * extent

    def draw(self, data: Any, views: Iterable[View], *, sites: bool, mask: bool) -> list[Picture]:
        """One picture for each view of the same state. ``sites``: markers are shown, in colour, depth and mask."""
        self.gl.make_current()
        self.option.sitegroup[:] = self.shown_sites if sites else 0
        everything = self.mujoco.mjtCatBit.mjCAT_ALL
        self.mujoco.mjv_updateScene(self.model, data, self.option, self.perturb, self.camera, everything, self.scene)
        return [self._draw(view, mask) for view in views]

    def close(self) -> None:
        """Frees textures and buffers."""
        self.gl.make_current()
        self.context.free()
        self.gl.free()

    def _draw(self, view: View, mask: bool) -> Picture:
        self._look(view)
        rgb, depth = np.empty((self.size, self.size, 3), np.uint8), np.empty((self.size, self.size), np.float32)
        self.mujoco.mjr_render(self.viewport, self.scene, self.context)
        self.mujoco.mjr_readPixels(rgb, depth, self.viewport, self.context)
        # GL's rows begin at the bottom.
        bodies = self._bodies() if mask else None
        return Picture(np.ascontiguousarray(rgb[::-1]), self._metres(depth[::-1]), bodies)

    def _look(self, view: View) -> None:
        """Both eyes, whose mean is drawn, go where the camera is."""
        half = self.near * np.tan(np.deg2rad(view.fovy_deg) / 2)
        for eye in self.scene.camera:
            eye.pos[:], eye.forward[:], eye.up[:] = view.position, view.axes[:, 2], -view.axes[:, 1]
            eye.frustum_bottom, eye.frustum_top, eye.frustum_center = -half, half, 0.0
            eye.frustum_width = 0.0  # as the viewport's
            eye.frustum_near, eye.frustum_far = self.near, self.far

    def _metres(self, buffer: NDArray[np.float32]) -> NDArray[np.float32]:
        """From GL's depth, 1 near and 0 far, in which 1 / metres is linear."""
        wide = buffer.astype(np.float64)
        return (self.near * self.far / (self.near + wide * (self.far - self.near))).astype(np.float32)

    def _bodies(self) -> NDArray[np.int32]:
        flags = [int(self.mujoco.mjtRndFlag.mjRND_SEGMENT), int(self.mujoco.mjtRndFlag.mjRND_IDCOLOR)]
        self.scene.flags[flags] = True
        codes = np.empty((self.size, self.size, 3), np.uint8)
        self.mujoco.mjr_render(self.viewport, self.scene, self.context)
        self.mujoco.mjr_readPixels(codes, None, self.viewport, self.context)
        self.scene.flags[flags] = False
        number = codes[::-1].astype(np.int32) @ np.array([1, 1 << 8, 1 << 16], np.int32)
        return self._body_of_segment()[np.clip(number, 0, self.scene.ngeom)]

    def _body_of_segment(self) -> NDArray[np.int32]:
        """(ngeom + 1,) the body of each thing in the scene, in the numbers that the pass above draws; 0 is nothing."""
        kinds, bodies = self.mujoco.mjtObj, np.full(self.scene.ngeom + 1, -1, np.int32)
        owners = {int(kinds.mjOBJ_GEOM): self.model.geom_bodyid, int(kinds.mjOBJ_SITE): self.model.site_bodyid}
        for geom in self.scene.geoms[: self.scene.ngeom]:
            if geom.objtype in owners and geom.segid >= 0:
                bodies[geom.segid + 1] = owners[geom.objtype][geom.objid]
        return bodies
