"""The model service, as its caller sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from upshot_server.demo.flights import Flight
from upshot_server.demo.json_client import JsonClient
from upshot_server.demo.processes import DemoError

START_TIMEOUT_S = 60.0


@dataclass
class ModelService:
    """Sends boards to the model service."""

    client: JsonClient
    versions: list[str] = field(default_factory=list)
    stats: dict[str, int] = field(default_factory=dict)
    """The SDK's counters, as of the last flush."""

    def load_model(self, version: str, file: str) -> str:
        """Load a model file of the service's folder; ``live`` for the first, ``shadow`` for those after it."""
        answer = self.client.request(
            "POST", "/models", json={"version": version, "file": file}, retry_for_s=START_TIMEOUT_S
        )
        self.versions.append(version)
        role: str = answer["role"]
        return role

    def score(self, board: Sequence[Flight]) -> list[str]:
        """Have a board scored; the request ID of each flight, in order."""
        body = msgspec.json.encode({"flights": [board_entry(flight) for flight in board]})
        answer = self.client.request("POST", "/score", content=body, content_type="application/json")["answers"]
        if [line["flight_id"] for line in answer] != [flight.flight_id for flight in board]:
            raise DemoError(
                f"the model service answered {len(answer)} of {len(board)} flights, or others than it was asked"
            )
        return [line["request_id"] for line in answer]

    def flush(self) -> None:
        """Return when Upshot has stored everything that was logged; raises :class:`DemoError` when it has not."""
        answer = self.client.request("POST", "/flush")
        self.stats = answer["stats"]
        if not answer["flushed"]:
            raise DemoError(f"the SDK could not deliver in time; its counters: {self.stats}")


def board_entry(flight: Flight) -> dict[str, object]:
    """What the airport's board says before a flight leaves: everything but how it ended."""
    return {
        "flight_id": flight.flight_id,
        "carrier": flight.carrier,
        "number": flight.number,
        "tail": flight.tail,
        "origin": flight.origin,
        "dest": flight.dest,
        "departs": flight.departs.isoformat(),
        "distance": flight.distance,
        "origin_delay": flight.origin_delay,
        "origin_waiting": flight.origin_waiting,
    }
