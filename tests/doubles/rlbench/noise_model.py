"""Noise on observations."""


class NoiseModel:
    def apply(self, val):
        raise NotImplementedError()


class Identity(NoiseModel):
    def apply(self, val):
        return val
