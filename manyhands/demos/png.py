"""Pictures in files: read as they lie in RLBench's data sets, and written for data sets of others."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.errors import DemoError

LONGEST_SIDE = 2048
"""pixels; asked before a picture is unpacked"""
STEPS = (1 << 24) - 1
"""of RLBench's depth between near and far"""


def read(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) of a PNG file.

    Raises:
        DemoError: there is no such file, it is damaged, too large, or not of three colours.
    """
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if max(image.size) > LONGEST_SIDE:
                raise DemoError(f"{path} has {image.size[0]} x {image.size[1]} pixels. Allowed: up to {LONGEST_SIDE} a side")
            if image.mode != "RGB":
                raise DemoError(f"{path} is of mode {image.mode}, wanted is RGB")
            return np.asarray(image)
    except FileNotFoundError:
        raise DemoError(f"{path} is missing") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # PIL has all of them for damage
        raise DemoError(f"{path} cannot be read as PNG: {str(error)[:100]}") from None


def depth(pixels: NDArray[np.uint8], near: float, far: float) -> NDArray[np.float32]:
    """(..., H, W) metres along the camera's axis. RLBench writes the way from near to far in 24 bits, red the highest."""
    high, middle, low = (pixels[..., i].astype(np.float64) for i in range(3))
    return (near + (high * 65536 + middle * 256 + low) / STEPS * (far - near)).astype(np.float32)


def packed(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of (H, W, 3)."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
    return file.getvalue()
