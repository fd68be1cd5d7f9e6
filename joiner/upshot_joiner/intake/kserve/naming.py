"""What a prediction of KServe is called."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Naming:
    """What a prediction is called."""

    model: str = "{namespace}/{service}"
    """Name of the model; ``{namespace}``, ``{service}``, ``{component}`` and ``{endpoint}`` stand for attributes of the event.
    A component other than the predictor is a model of its own: it gets ``/component`` behind its name, unless that is in it."""
    request_id: str = "body"
    """``body``: the ``id`` of the request's body, else ``ce-id``. ``ce-id``: always that. ``header:<name>``: this header of the
    request, where the logger's ``metadataHeaders`` names it, else ``ce-id``."""
