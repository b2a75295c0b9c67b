"""c2farm-reach with the quirks of the authors' code: cubes about corners, errors of the first depth counted twice, targets unbounded."""

from dataclasses import replace

from manyhands.config import RunConfig
from manyhands.presets import c2farm_reach


def preset() -> RunConfig:
    config = c2farm_reach.preset()
    algo = replace(config.algo, parity=True)  # type: ignore[type-var] - a dataclass
    return replace(config, preset="c2farm-reach-parity", algo=algo)
