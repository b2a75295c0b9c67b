"""Things of the scene."""

from pyrep.objects.vision_sensor import VisionSensor  # noqa: F401
