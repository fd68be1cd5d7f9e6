"""How a batch reaches the server. Each way is a module here, and fulfils the contract in ``transport.contract``."""

from __future__ import annotations

from upshot.delivery.transport.contract import Transport

# Imported with upshot itself: a first import from the sender's thread could be forked in its middle, and a child cannot
# release the import lock of a thread it does not have.
from upshot.delivery.transport.http import HttpTransport
from upshot.settings import Settings

__all__ = ["open_transport"]


def open_transport(settings: Settings) -> Transport:
    """The transport for ``settings.url``. Opens no connection yet."""
    return HttpTransport(settings.url, settings.api_key)
