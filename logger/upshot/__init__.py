"""The part of Upshot that a model service imports.

In: predictions with the features as they were served, and labels. Out: batches of events to an Upshot server, sent by a
background thread. Promise: a call never blocks, never raises, and every event ends in exactly one counter of `stats`.
Importing this starts no thread and reads no environment; both happen at the first call.
"""

# ruff: noqa: E402  # the refusal comes before the imports that it is about
from upshot._interpreter import refuse_subinterpreter

refuse_subinterpreter()

from typing import Unpack

from upshot._version import __version__
from upshot.errors import (
    ConfigurationError,
    InvalidBatchError,
    PayloadTooLargeError,
    PermanentError,
    TransientError,
    TransportError,
    UpshotError,
)
from upshot.logger import Logger
from upshot.settings import Options

__all__ = [
    "ConfigurationError",
    "InvalidBatchError",
    "Logger",
    "PayloadTooLargeError",
    "PermanentError",
    "TransientError",
    "TransportError",
    "UpshotError",
    "__version__",
    "close",
    "configure",
    "flush",
    "log_frame",
    "log_label",
    "log_prediction",
    "log_shown",
    "log_slate",
    "retract_label",
    "stats",
]

_default = Logger.unconfigured()

# The default logger's own methods: a function around them would cost a third of the call.
log_prediction = _default.log_prediction
log_frame = _default.log_frame
log_label = _default.log_label
log_shown = _default.log_shown
log_slate = _default.log_slate
retract_label = _default.retract_label
flush = _default.flush
close = _default.close
stats = _default.stats


def configure(**options: Unpack[Options]) -> None:
    """Configure the default logger, which the functions of this module use.

    ``url`` (``http://127.0.0.1:8750``), ``api_key``, ``model`` and ``model_version`` of predictions that name none,
    and the limits of `upshot.settings.Settings`. What is not given comes from the variable ``UPSHOT_`` + NAME, or has
    its default. Raises ConfigurationError when a value is wrong. Without a call, the variables alone count, read at
    the first event.
    """
    _default.reconfigure(**options)
