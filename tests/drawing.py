"""The mark of tests that need images: where OpenGL draws nothing they are skipped, as ``.ci/run`` goes on without it, too."""

import pytest

from core.errors import ConfigError
from simulators.metaworld_vision import gl


def _draws() -> bool:
    try:
        gl.backend()
    except ConfigError:
        return False
    return True


draws = pytest.mark.skipif(not _draws(), reason=f"OpenGL draws nothing without a screen here: {gl.FIX}")
