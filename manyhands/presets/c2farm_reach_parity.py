"""c2farm-reach with the quirks of the authors' code: cubes about corners, errors of the first depth counted twice, targets unbounded."""

from manyhands.config import RunConfig
from manyhands.presets import c2farm_reach


def preset() -> RunConfig:
    return c2farm_reach.preset("c2farm-reach-parity", parity=True)
