"""A double of PyRep 4.1.0.3, as far as manyhands and the double of RLBench use it."""

__version__ = "4.1.0.3"

testing = False

from .pyrep import PyRep  # noqa: E402, F401, TID252
