"""The composition root: configuration, presets, backends, the training loop and the command line."""

__version__ = "0.1.0"
