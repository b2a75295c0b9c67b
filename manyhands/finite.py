"""No setting may be NaN or infinite, wherever it stands."""

import math
from typing import Any

from core.errors import ConfigError


def check_finite(where: str, value: Any) -> None:
    """No setting means anything as NaN, and NaN passes most comparisons."""
    if isinstance(value, dict):
        for key, part in value.items():
            check_finite(f"{where}.{key}" if where else key, part)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where} is {value}; it must be a finite number")
