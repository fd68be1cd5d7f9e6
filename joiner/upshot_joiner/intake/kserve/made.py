"""What a pair became: predictions in normal form, or what goes to quarantine; and how quarantine keeps a half."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from upshot_joiner.intake.check import CheckedPrediction, NotAccepted, check_prediction
from upshot_joiner.intake.decode import Refused
from upshot_joiner.intake.kserve.cloudevent import CloudEvent
from upshot_joiner.intake.kserve.inference import Half, model_of, predictions_of
from upshot_joiner.intake.kserve.naming import Naming

_log = logging.getLogger("upshot.intake")


@dataclass
class Made:
    """What a complete pair became. ``because`` is ``paired``, or the code under which the whole of it was refused."""

    predictions: list[CheckedPrediction] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    because: str = "paired"


def made_of(number: int, request: Half, response: Half, naming: Naming) -> Made:
    """The predictions of a pair, row by row, and what of it is refused; ``number`` is the index of everything refused."""
    payload = kept_half(response, naming) | kept_half(request, naming)
    try:
        events = predictions_of(request, response, naming)
    except NotAccepted as reason:
        return Made(refused=[Refused(number, reason.code, reason.loc, payload)], because=reason.code)
    except Exception:  # noqa: BLE001  # a pair that cannot be read must not hold up all others, again and again
        _log.exception("an inference cannot be read")
        return Made(refused=[Refused(number, "unsupported_value", "", payload)], because="unsupported_value")
    made = Made()
    for row, event in enumerate(events):
        try:
            made.predictions.append(check_prediction(event))
        except NotAccepted as reason:
            made.refused.append(Refused(number, reason.code, f"rows[{row}].{reason.loc}", payload))
    return made


def kept_half(half: Half, naming: Naming) -> dict[str, Any]:
    """A half as quarantine keeps it."""
    return {
        "request_id": half.event_id,
        "model": model_of(half, naming.model),
        half.side: {
            "id": half.event_id,
            "source": half.source,
            "at_us": half.at_us,
            **half.extensions,
            "data": half.body.decode("utf-8", "backslashreplace"),
        },
    }


def kept_event(event: CloudEvent) -> dict[str, Any]:
    """An event that is no half, as quarantine keeps it."""
    return {
        "request_id": event.id,
        "source": event.source,
        "type": event.type,
        "time": event.time,
        **event.extensions,
        "data": event.data.decode("utf-8", "backslashreplace"),
    }
