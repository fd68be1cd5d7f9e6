"""A model service as they are written: FastAPI, a small scikit-learn model, one call that logs what the model answered.

``python -m tests.bench.scoring_service PORT`` starts it, as `tests.bench.logger_in_a_service` does; ``UPSHOT_URL`` says where it
logs to. ``POST /switch`` turns the logging on or off between two windows: both kinds of request take the same way through the code.
"""

from __future__ import annotations

import logging
import random
import sys
import time

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import upshot

N_TRAINING_ROWS = 2_000
FLUSH_TIMEOUT_S = 60.0


class Scoring(BaseModel):
    """One request: 20 numbers and 10 texts."""

    request_id: str
    features: dict[str, float | str]


class Score(BaseModel):
    """The answer."""

    request_id: str
    probability: float


class Switched(BaseModel):
    """The state after the switch, and what the process did so far."""

    is_logging: bool
    cpu_s: float
    stats: dict[str, int]


def made_features(rng: random.Random) -> dict[str, float | str]:
    """A row as the load generator sends it, too."""
    numbers: dict[str, float | str] = {f"num_feature_{i:02d}": rng.random() * 100 for i in range(20)}
    return numbers | {f"cat_feature_{i}": f"value_{rng.randrange(50)}" for i in range(10)}


def scoring_app() -> FastAPI:
    """The service with its trained model."""
    rng = random.Random(7)
    rows = [made_features(rng) for _ in range(N_TRAINING_ROWS)]
    targets = [int(float(row["num_feature_00"]) + rng.gauss(0, 20) > 50) for row in rows]
    model = make_pipeline(DictVectorizer(sparse=False), LogisticRegression(max_iter=1000)).fit(rows, targets)
    app = FastAPI()
    is_logging = False

    @app.post("/score")
    async def score(scoring: Scoring) -> Score:
        probability = float(model.predict_proba([scoring.features])[0, 1])
        if is_logging:
            upshot.log_prediction(scoring.features, probability, request_id=scoring.request_id)
        return Score(request_id=scoring.request_id, probability=probability)

    @app.post("/switch")
    async def switch(on: bool) -> Switched:
        nonlocal is_logging
        is_logging = on
        return Switched(is_logging=is_logging, cpu_s=time.process_time(), stats=upshot.stats())

    @app.post("/flush")
    def flush() -> Switched:
        upshot.flush(FLUSH_TIMEOUT_S)
        return Switched(is_logging=is_logging, cpu_s=time.process_time(), stats=upshot.stats())

    return app


if __name__ == "__main__":
    logging.getLogger("upshot").addHandler(logging.NullHandler())  # a stopped collector is part of the plan
    upshot.configure(model="bench", model_version="1")
    uvicorn.run(
        scoring_app(),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
        timeout_keep_alive=3600,  # the generator's connections idle between two windows
    )
