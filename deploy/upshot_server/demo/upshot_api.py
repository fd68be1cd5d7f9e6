"""What the demo asks of Upshot, through the same HTTP routes that every user has."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from upshot_server.demo.feed import Event
from upshot_server.demo.json_client import JsonClient
from upshot_server.demo.processes import DemoError

MODEL = "flights"
LABEL = "late"
START_TIMEOUT_S = 60.0
EXPORT_TIMEOUT_S = 120.0
EXPORT_POLL_S = 0.1

CONFIGURATION: dict[str, object] = {
    "task": "binary",
    "positive": 1,
    # The longest flight takes 12 hours and the latest came 21 hours late; almost all are known within a day.
    "labels": {LABEL: {"window": "24h", "combine": "last"}},
    "primary_label": LABEL,
    "segments": ["features.origin"],
}
FLIGHTS_FOR_WEEKS = 20_000


def drift_window_for(flights: int) -> str:
    """A week has enough flights for a verdict on every feature when many are replayed, else four weeks."""
    return "7d" if flights >= FLIGHTS_FOR_WEEKS else "28d"


@dataclass(frozen=True)
class Export:
    """A finished training set."""

    id: str
    folder: Path
    manifest: dict[str, Any]

    @property
    def files(self) -> list[str]:
        """Its Parquet files, relative to the folder."""
        return [file["path"] for file in self.manifest["files"]]


@dataclass
class LabelCounts:
    """What the webhook said of the label events sent to it."""

    accepted: int = 0
    duplicates: int = 0


class UpshotApi:
    """Upshot, as its users see it."""

    def __init__(self, client: JsonClient) -> None:
        self._client = client
        self.sent = LabelCounts()

    def wait_until_ready(self) -> None:
        """Return when the server answers."""
        self._client.request("GET", "/readyz", retry_for_s=START_TIMEOUT_S)

    def configure(self, drift_window: str) -> None:
        """Say what the model answers, which label will tell, and what serving is compared with."""
        drift = {"baseline": "reference", "window": drift_window}
        self._client.request("PUT", f"/v1/models/{MODEL}", json=CONFIGURATION | {"drift": drift})

    def add_reference(self, file: Path, version: str) -> None:
        """Upload the training set of a version, to compare serving with."""
        self._client.request(
            "POST", f"/v1/models/{MODEL}/references", params={"model_version": version},
            content=file.read_bytes(), content_type="application/vnd.apache.parquet",
        )  # fmt: skip

    def send_labels(self, events: Sequence[Event]) -> None:
        """Post label events to the webhook. Raises :class:`DemoError` if one was refused."""
        if not events:
            return
        body = b"\n".join(msgspec.json.encode(event) for event in events)
        answer = self._client.request("POST", "/v1/labels", content=body, content_type="application/x-ndjson")
        self.sent.accepted += answer["accepted"]
        self.sent.duplicates += answer["duplicates"]
        if answer["rejected"]:
            raise DemoError(f"{answer['rejected']} of {len(events)} labels were refused: {answer['errors'][:3]}")

    def labels(self) -> dict[str, Any]:
        """Coverage, delay and states of the label, and the funnel."""
        answer = self._client.get(f"/v1/models/{MODEL}/labels")
        found: dict[str, Any] = {}
        for label in answer["labels"]:
            if label["name"] == LABEL:
                found = label | {"funnel": answer["funnel"]}
        return found

    def performance(self, **params: str) -> dict[str, Any]:
        """Metrics by window."""
        answer: dict[str, Any] = self._client.get(f"/v1/models/{MODEL}/performance", **params)
        return answer

    def drift(self, **params: str) -> dict[str, Any]:
        """The verdict on each feature, serving now against the baseline."""
        answer: dict[str, Any] = self._client.get(f"/v1/models/{MODEL}/drift", **params)
        return answer

    def skew(self, **params: str) -> dict[str, Any]:
        """The verdict on each feature, serving against training."""
        answer: dict[str, Any] = self._client.get(f"/v1/models/{MODEL}/skew", **params)
        return answer

    def compare(self, first: str, second: str) -> dict[str, Any]:
        """Two versions on the matured, labelled rows that both scored."""
        answer: dict[str, Any] = self._client.get(f"/v1/models/{MODEL}/compare", a=first, b=second)
        return answer

    def export(self, start: datetime, end: datetime, as_of: datetime) -> Export:
        """Make the training set of [``start``, ``end``) as of a moment, and wait for it."""
        order = {"model": MODEL, "start": start.isoformat(), "end": end.isoformat(), "as_of": as_of.isoformat()}
        export_id = self._client.request("POST", "/v1/exports", json=order)["id"]
        deadline = time.monotonic() + EXPORT_TIMEOUT_S
        while time.monotonic() < deadline:
            state = self._client.get(f"/v1/exports/{export_id}")
            if state["status"] == "done":
                return Export(export_id, Path(state["location"]), state["manifest"])
            if state["status"] in ("failed", "cancelled"):
                raise DemoError(f"the export {export_id} {state['status']}: {state}")
            time.sleep(EXPORT_POLL_S)
        raise DemoError(f"the export {export_id} is not done after {EXPORT_TIMEOUT_S:.0f} s")
