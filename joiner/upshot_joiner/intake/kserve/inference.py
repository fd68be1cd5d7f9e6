"""From the two events of an inference to predictions: which halves belong together, and what the pair says.

The logger (``pkg/logger`` of KServe) sends ``org.kubeflow.serving.inference.request`` and ``….response`` with one ``ce-id``: that
of the caller's own ``ce-id`` header, else a random UUID. The extensions ``inferenceservicename``, ``namespace``, ``component`` and
``endpoint`` say who served; ``metadata`` holds chosen headers of the request as JSON, ``annotations`` those of the service. The
response is sent under the content type of the request, so a body is known by what is in it. A response is sent only after a 200,
unless ``statuscode`` says otherwise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from upshot.wire import Prediction, Scalar
from upshot_joiner.clock import from_micros
from upshot_joiner.intake.check import MAX_ID_LENGTH, NotAccepted, micros
from upshot_joiner.intake.kserve.bodies import Answered, read_request, read_response
from upshot_joiner.intake.kserve.cloudevent import CloudEvent
from upshot_joiner.intake.kserve.naming import Naming
from upshot_joiner.store.keys import content_hash

Side = Literal["request", "response"]
SIDES: tuple[Side, ...] = get_args(Side)

_TYPE = "org.kubeflow.serving.inference."
_SUMS_TO_ONE = 0.01
"""How far from 1 a row of probabilities may add up: half-precision numbers of many classes are that far off."""


@dataclass(frozen=True, slots=True)
class Half:
    """The request or the response of one inference. ``at_us`` is when it was sent, in microseconds since 1970."""

    side: Side
    event_id: str
    source: str
    extensions: Mapping[str, str]
    at_us: int | None
    body: bytes

    @property
    def pair(self) -> int:
        """The same 128-bit number for both halves of an inference, and for no other."""
        who = [self.extensions.get(name, "") for name in ("namespace", "inferenceservicename", "component", "endpoint")]
        return content_hash([self.event_id, self.source, *who])

    @property
    def digest(self) -> int:
        """Equal for a half that is sent again, also when it is stamped anew."""
        return content_hash([self.side, self.body])


def half_of(event: CloudEvent, place: str) -> Half:
    """The half that an event is; raises :class:`NotAccepted`, with ``place`` before the name of an attribute."""
    side = next((side for side in SIDES if event.type == _TYPE + side), None)
    if side is None:
        raise NotAccepted("not_allowed", f"{place}type")
    service = event.extensions.get("inferenceservicename")
    if not service:
        raise NotAccepted("empty" if service == "" else "missing", f"{place}inferenceservicename")
    if not event.data:
        raise NotAccepted("empty", "data")
    at_us = micros(event.time, f"{place}time") if event.time else None
    return Half(side, event.id, event.source, event.extensions, at_us, event.data)


def predictions_of(request: Half, response: Half, naming: Naming) -> list[Prediction]:
    """One prediction for each row, with ``item_id`` ``""`` for a single one, else ``"0"``, ``"1"``, ... in the order of the rows.

    Raises :class:`NotAccepted` when the two do not make an inference, with a place in ``request`` or ``response``.
    """
    status = response.extensions.get("statuscode", "")
    if status and not status.startswith("2"):
        raise NotAccepted("inference_failed", "response.statuscode")
    asked = read_request(request.body)
    answered = read_response(response.body, len(asked.rows))
    headers = _mapping(request.extensions.get("metadata"))
    request_id = _request_id(request, asked.id, headers, naming.request_id)
    tags = _tags(request, request_id, answered.id, headers)
    made = []
    for number, (features, outputs) in enumerate(zip(asked.rows, answered.rows, strict=True)):
        prediction, probabilities, rest = _answer(outputs, answered, number)
        made.append(
            Prediction(
                request_id=request_id,
                model=model_of(request, naming.model),
                model_version=answered.model_version or _canary(request),
                item_id=str(number) if len(asked.rows) > 1 else "",
                predicted_at=_seconds(response.at_us if response.at_us is not None else request.at_us),
                prediction=prediction,
                probabilities=probabilities,
                features=features,
                tags={**tags, **rest} or None,
            )
        )
    return made


def _answer(
    outputs: Mapping[str, Any], answered: Answered, row: int
) -> tuple[Scalar | None, dict[str, float] | None, dict[str, str]]:
    """Prediction, probabilities, and the other outputs as tags."""
    if set(outputs) == {""} and isinstance(outputs[""], dict) and outputs[""]:
        named = outputs[""]
        if len(named) > 1 and _is_distribution(list(named.values())):
            return max(named, key=lambda name: named[name]), {k: float(v) for k, v in named.items()}, {}
        outputs = named
    prediction: Scalar | None = None
    probabilities: dict[str, float] | None = None
    most_probable: Scalar | None = None
    rest: dict[str, str] = {}
    found = False
    for name, output in outputs.items():
        value = output
        while isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not found and not isinstance(value, list | dict):
            prediction, found = value, True
        elif probabilities is None and isinstance(value, list) and value and all(map(_is_number, value)):
            probabilities = {str(k): float(number) for k, number in enumerate(value)}
            most_probable = value.index(max(value)) if _is_distribution(value) else None
        elif (
            probabilities is None and isinstance(value, dict) and len(value) > 1 and _is_distribution([*value.values()])
        ):
            probabilities = {k: float(number) for k, number in value.items()}
            most_probable = max(value, key=lambda one: float(value[one]))
        else:
            rest[f"output.{name}" if name else "output"] = json.dumps(output, ensure_ascii=False)
    if not found and probabilities is None:
        raise NotAccepted("no_prediction", f"{answered.places.get(next(iter(outputs), ''), 'response')}[{row}]")
    return prediction if found else most_probable, probabilities, rest


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_distribution(values: list[Any]) -> bool:
    return all(_is_number(value) and 0 <= value <= 1 for value in values) and abs(math.fsum(values) - 1) <= _SUMS_TO_ONE


def model_of(request: Half, template: str) -> str:
    """The name of the model by :attr:`Naming.model`."""
    component = request.extensions.get("component", "")
    known = {
        "namespace": request.extensions.get("namespace", ""),
        "service": request.extensions["inferenceservicename"],
        "component": component,
        "endpoint": request.extensions.get("endpoint", ""),
    }
    name = template
    for place, value in known.items():
        name = name.replace(f"{{{place}}}", value)
    if component not in ("", "predictor") and "{component}" not in template:
        name = f"{name}/{component}"
    return name.lstrip("/")


def _canary(request: Half) -> str:
    endpoint = request.extensions.get("endpoint", "")
    return "" if endpoint == "default" else endpoint


def _request_id(request: Half, of_body: str, headers: Mapping[str, Any], source: str) -> str:
    kind, _, name = source.partition(":")
    own = ""
    if kind == "body":
        own = of_body
    elif kind == "header":
        own = next((_header(value) for header, value in headers.items() if header.lower() == name.lower()), "")
    return own if 0 < len(own) <= MAX_ID_LENGTH else request.event_id


def _tags(request: Half, request_id: str, of_response: str, headers: Mapping[str, Any]) -> dict[str, str]:
    """The other IDs of the request, and what the service's owner has chosen to log with it."""
    tags = {}
    if request_id != request.event_id:
        tags["ce_id"] = request.event_id
    if of_response and of_response != request_id:
        tags["inference_id"] = of_response
    tags |= {f"header.{name.lower()}": _header(value) for name, value in headers.items()}
    annotations = _mapping(request.extensions.get("annotations"))
    return tags | {f"annotation.{name}": value for name, value in annotations.items() if isinstance(value, str)}


def _header(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _mapping(text: str | None) -> dict[str, Any]:
    """JSON of an extension; anything but an object says nothing."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _seconds(at_us: int | None) -> str | None:
    """As text, which is exact to the microsecond."""
    return None if at_us is None else from_micros(at_us).isoformat()
