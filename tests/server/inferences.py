"""Events as KServe's inference logger makes them, through the CloudEvents SDK. Bodies of V2 are what ``InferRequest.to_rest()``
and ``InferResponse.to_rest()`` of kserve 0.21 give."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from cloudevents.core.bindings.http import HTTPMessage, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

SENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LATENCY = timedelta(milliseconds=12)

V1_REQUEST = {"instances": [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]}
V1_RESPONSE = {"predictions": [1, 2]}
V2_REQUEST = {
    "id": "abc",
    "model_name": "iris",
    "inputs": [
        {"name": "input-0", "shape": [2, 4], "datatype": "FP32", "data": [6.8, 2.8, 4.8, 1.4, 6.0, 3.4, 4.5, 1.6]}
    ],
}
V2_RESPONSE = {
    "id": "abc",
    "model_name": "iris",
    "model_version": None,
    "outputs": [{"name": "output-0", "shape": [2], "datatype": "INT64", "data": [1, 2]}],
}
V2_COLUMNS = {
    "id": "c213db51-263b-41ff-93cd-209bad125a51",
    "model_name": "m",
    "inputs": [
        {"name": "amount", "shape": [2], "datatype": "FP64", "data": [1.5, 2]},
        {"name": "country", "shape": [2, 1], "datatype": "BYTES", "data": [["DE"], ["FR"]]},
        {"name": "n", "shape": [2], "datatype": "INT64", "data": [1, 2]},
        {"name": "flag", "shape": [2], "datatype": "BOOL", "data": [True, False]},
        {"name": "embedding", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [3, 4]]},
    ],
}


def event(side: str, id_: str, body: Any, **attributes: Any) -> CloudEvent:
    """One half of an inference; ``body`` is JSON, or bytes as they are. An attribute of None is left out."""
    given = {
        "specversion": "1.0",
        "id": id_,
        "source": "http://localhost:9081/",
        "type": f"org.kubeflow.serving.inference.{side}",
        "time": SENT + (LATENCY if side == "response" else timedelta()),
        "datacontenttype": "application/json",
        "inferenceservicename": "iris",
        "namespace": "shop",
        "component": "predictor",
        "endpoint": "default",
        "metadata": "{}",
        **attributes,
    }
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return CloudEvent({name: value for name, value in given.items() if value is not None}, data)


def message(one: CloudEvent, mode: str = "binary") -> HTTPMessage:
    """The event as a request, in ``binary`` or ``structured`` mode."""
    return (to_binary if mode == "binary" else to_structured)(one, JSONFormat())


def batch(events: list[CloudEvent]) -> HTTPMessage:
    """Events as one request in batched mode, for which the SDK has no function."""
    items = [json.loads(message(one, "structured").body) for one in events]
    return HTTPMessage({"content-type": "application/cloudevents-batch+json"}, json.dumps(items).encode())
