"""How a batch reaches the server. Each way is a module here, and fulfils the contract in ``transport.contract``."""

from __future__ import annotations

import warnings

from upshot.delivery.transport.contract import Transport

# Imported with upshot itself: a first import from the sender's thread could be forked in its middle, and a child cannot
# release the import lock of a thread it does not have.
from upshot.delivery.transport.http import HttpTransport
from upshot.errors import ConfigurationError
from upshot.settings import Settings

__all__ = ["open_transport"]


def open_transport(settings: Settings) -> Transport:
    """The transport for ``settings.url``. Opens no connection yet. Raises ConfigurationError when its library is missing.

    kafka-python takes some tenths of a second to import, which only those pay who send to Kafka. ``Settings.read`` calls this
    too, so that it happens when a logger is configured, and not in a logging call or in the sender's thread.
    """
    if settings.url.startswith("kafka:"):
        try:
            with warnings.catch_warnings():  # its import uses a function that Python 3.11 and 3.12 call deprecated
                warnings.simplefilter("ignore", DeprecationWarning)
                from upshot.delivery.transport.kafka import KafkaTransport
        except ImportError as error:
            raise ConfigurationError(
                f'url: kafka:// needs kafka-python: pip install "upshot[kafka]" ({error})'
            ) from None
        return KafkaTransport(settings.url, settings.api_key, settings.request_timeout_s)
    return HttpTransport(settings.url, settings.api_key, settings.compression)
