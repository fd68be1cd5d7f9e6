"""The model service: a small web service that scores departure boards and logs every prediction to Upshot.

It knows Upshot only through the SDK. It keeps its own weather and register of planes, as a service with a feature store
would, and takes the weather that was published before departure. The first model it is given answers; later ones are
shadows: they score the same flights under the same request ID, and nobody acts on their answers.
"""

from __future__ import annotations

import argparse
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import uvicorn
from fastapi import Body, FastAPI, HTTPException, Response
from pydantic import AwareDatetime, BaseModel

import upshot
from upshot_server.demo.features import SERVED_FEATURES, Value, features_of
from upshot_server.demo.model import LateModel
from upshot_server.demo.planes import Planes
from upshot_server.demo.processes import end_with_parent
from upshot_server.demo.weather import Weather

MODEL = "flights"
FLUSH_TIMEOUT_S = 30.0


class BoardFlight(BaseModel):
    """A line of the departure board: the facts of the timetable, and what the board shows of the airport now."""

    flight_id: str
    carrier: str
    number: int
    tail: str | None
    origin: str
    dest: str
    departs: AwareDatetime
    """Scheduled, on New York's clock."""
    distance: int
    origin_delay: float | None
    origin_waiting: int


class NewModel(BaseModel):
    """A model file in the service's folder, to be loaded under ``version``."""

    version: str
    file: str


@dataclass(frozen=True)
class Serving:
    """A loaded model."""

    version: str
    role: str
    model: LateModel


class Scorer:
    """Builds features, asks the models, logs what they said."""

    def __init__(self, weather: Weather, planes: Planes) -> None:
        self._weather = weather
        self._planes = planes
        self.serving: list[Serving] = []

    def score(self, board: list[BoardFlight]) -> list[dict[str, object]]:
        """Answer each flight, in order, with the live model's probability and the request ID it was logged under."""
        rows = [
            features_of(
                flight, self._planes.of(flight.tail), self._weather.published_before(flight.origin, flight.departs)
            )
            for flight in board
        ]
        columns = {name: [row[name] for row in rows] for name in SERVED_FEATURES}
        scores = [serving.model.probabilities(columns).tolist() for serving in self.serving]
        return [
            self._log(flight, row, answers)
            for flight, row, answers in zip(board, rows, zip(*scores, strict=True), strict=True)
        ]

    def _log(self, flight: BoardFlight, features: dict[str, Value], answers: tuple[float, ...]) -> dict[str, object]:
        entities = {"flight": f"{flight.carrier}{flight.number}"}
        if flight.tail is not None:
            entities["tail"] = flight.tail
        request_id: str | None = None
        for serving, probability in zip(self.serving, answers, strict=True):
            request_id = upshot.log_prediction(
                features=features,
                prediction=probability,
                request_id=request_id,
                model_version=serving.version,
                predicted_at=flight.departs,
                entities=entities,
                tags={"origin": flight.origin, "role": serving.role},
            )
        return {"flight_id": flight.flight_id, "request_id": request_id, "late_probability": answers[0]}


def build_app(scorer: Scorer, models: Path) -> FastAPI:
    """The service's routes. ``models`` is the only folder it loads models from."""
    app = FastAPI(title="flight delays", docs_url=None, redoc_url=None)

    @app.post("/score")
    async def score(flights: Annotated[list[BoardFlight], Body(embed=True)]) -> Response:
        if not scorer.serving:
            raise HTTPException(503, "no model is loaded yet")
        return Response(msgspec.json.encode({"answers": scorer.score(flights)}), media_type="application/json")

    @app.post("/models")
    def load(new: NewModel) -> dict[str, str]:
        path = models / Path(new.file).name
        if not path.exists():
            raise HTTPException(404, "no such file in the folder of models")
        serving = Serving(new.version, "shadow" if scorer.serving else "live", LateModel.load(path))
        scorer.serving = [*scorer.serving, serving]
        return {"version": serving.version, "role": serving.role}

    @app.post("/flush")
    def flush() -> dict[str, object]:
        return {"flushed": upshot.flush(FLUSH_TIMEOUT_S), "stats": upshot.stats()}

    @app.get("/healthz")
    def healthz() -> dict[str, object]:
        return {"versions": [serving.version for serving in scorer.serving]}

    return app


def main() -> None:
    """Serve on an inherited socket until told to end."""
    options = argparse.ArgumentParser()
    options.add_argument("--upshot", required=True, help="address of Upshot")
    options.add_argument("--models", type=Path, required=True, help="folder of model files")
    options.add_argument("--socket", type=int, required=True, help="file descriptor of a bound socket")
    chosen = options.parse_args()
    end_with_parent()
    upshot.configure(url=chosen.upshot, model=MODEL, spool_dir=str(chosen.models.parent / "spool"))
    app = build_app(Scorer(Weather.load(), Planes.load()), chosen.models)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    try:
        server.run(sockets=[socket.socket(fileno=chosen.socket)])
    finally:
        upshot.close()


if __name__ == "__main__":
    main()
