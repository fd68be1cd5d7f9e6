"""The part of Upshot that a model service imports."""

from upshot._version import __version__

__all__ = ["__version__"]
