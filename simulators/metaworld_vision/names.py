"""What can be said without loading anything heavy: the cameras, the workspace, and where a goal has to be shown."""

OWN_CAMERAS = ("front", "left", "above")
STOCK_CAMERAS = ("topview", "corner", "corner2", "corner3", "corner4", "behindGripper", "gripperPOV")
CAMERAS = (*OWN_CAMERAS, *STOCK_CAMERAS)

BOUNDS = (-0.4, 0.3, -0.1, 0.4, 1.1, 0.7)
"""metres, world: lower and upper corner of the cube that holds what all tasks are about. A cube, so that its cells are cubes; the table is
z = 0, the robot stands at y = 0 and looks along y."""

_ONLY_A_MARKER = "reach push pick-place push-back reach-wall push-wall pick-place-wall coffee-push coffee-pull stick-push stick-pull"
MARKED = tuple(f"{name}-v3" for name in _ONLY_A_MARKER.split())
"""tasks whose goal is nothing but a marker"""
