"""A model service of its own process: trains a scikit-learn model, serves every row of a data set through the SDK.

Run as ``python model_service.py URL ROWS SERVED``; writes what it served to the file SERVED (JSON, which keeps every float exact).
"""

from __future__ import annotations

import json
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

import upshot

START = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)


def request_id(number: int) -> str:
    """Half of the callers use UUIDs, half an ID of their own."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))) if number % 2 else f"order/{number}"


def data(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Three features and a binary outcome that depends on them."""
    random = np.random.default_rng(7)
    features = random.normal(size=(rows, 3)) * [1, 50, 1e-3]
    odds = features[:, 0] + features[:, 1] / 50 - 0.5
    return features, (random.uniform(size=rows) < 1 / (1 + np.exp(-2 * odds))).astype(int)


def features_of(row: np.ndarray, number: int) -> dict[str, Any]:
    """What the service computes for a request: every kind of value that a model service serves."""
    features: dict[str, Any] = {
        "a": float(row[0]),
        "b.c": float(row[1]),
        "small": float(row[2]),
        "count": number,
        "large": 2**60 + number,
        "country": ["DE", "FR", ""][number % 3],
        "is_new": number % 5 == 0,
        "age": None if number % 4 == 0 else number % 90,
        "vector": [float(row[0]), 0.5, float(row[2])],
        "ratio": float("nan") if number % 11 == 0 else float("inf") if number % 13 == 0 else row[0] / 3,
    }
    if number % 7:
        features["sometimes"] = number / 7
    return features


def main(url: str, rows: int, served: Path) -> None:
    """Serve every row once."""
    matrix, outcomes = data(rows + 2000)
    model = LogisticRegression().fit(matrix[rows:, :2], outcomes[rows:])
    scores = model.predict_proba(matrix[:rows, :2])[:, 1]
    upshot.configure(url=url, model="clicks", model_version="7")
    log = []
    for number in range(rows):
        features = features_of(matrix[number], number)
        upshot.log_prediction(
            features,
            float(scores[number]),
            request_id=request_id(number),
            predicted_at=START + timedelta(seconds=number),
            entities={"user": f"u{number % 100}"},
            tags={"channel": "web"},
        )
        log.append({"request_id": request_id(number), "features": features, "prediction": float(scores[number])})
    complete = upshot.flush(timeout=120)
    served.write_text(json.dumps({"complete": complete, "served": log, "stats": upshot.stats()}))
    upshot.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
