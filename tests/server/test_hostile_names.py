"""Names and values that look like SQL, paths or markup are data, from the first byte to the export."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq

from tests.running import RunningServer

HOSTILE = [
    "'; DROP TABLE predictions; --",
    "`) ENGINE = Memory; --",
    "{as_of:Int64}",
    "%(table)s %s",
    "a.b.c",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "naïve ☃ \U0001f680",
    "",
    "feature__x",
    "\\' OR 1=1",
    "nul\\0",
]


def test_hostile_names_are_kept_exactly(server: RunningServer) -> None:
    """As model, feature, tag, entity, class, label, source, request ID and value: every one comes back as it was sent."""
    for number, name in enumerate(HOSTILE):
        other = HOSTILE[(number + 1) % len(HOSTILE)]
        event = {
            "request_id": f"{number} {name}",
            "model": name or "empty",
            "model_version": other,
            "features": {name: other, other: number, "plain": name},
            "probabilities": {name: 0.5, other: 0.25},
            "prediction": name,
            "tags": {name: other},
            "entities": {name: other},
        }
        assert server.post("/v1/predictions", event).json() == {
            "accepted": 1,
            "duplicates": 0,
            "rejected": 0,
            "converted": 0,
            "errors": [],
        }
        label = {
            "request_id": event["request_id"],
            "name": name or "label",
            "value": other,
            "source": name,
            "tags": {name: other},
        }
        assert server.post("/v1/labels", label).json()["accepted"] == 1
    server.until_joined()
    models = {model["model"] for model in server.http.get("/v1/models").json()["models"]}
    assert models == {name or "empty" for name in HOSTILE}
    for number, name in enumerate(HOSTILE):
        other = HOSTILE[(number + 1) % len(HOSTILE)]
        told = server.story(f"{number} {name}")
        [prediction] = told["predictions"]
        assert prediction["features"] == {name: other, other: number, "plain": name}
        assert prediction["probabilities"] == {name: 0.5, other: 0.25}
        assert prediction["tags"] == prediction["entities"] == {name: other}
        [outcome] = told["outcomes"]
        assert (outcome["name"], outcome["value"], outcome["state"]) == (name or "label", other, "labelled")
        found = server.export(model=name or "empty")
        [row] = pq.read_table(Path(found["location"]) / "part-00000.parquet").to_pylist()
        assert row[f"feature__{name}"] == other
        assert row[f"tag__{name}"] == other
        assert row[f"entity__{name}"] == other
        assert row[f"label__{name or 'label'}"] == other
        answer = server.http.get(f"/v1/models/{quote(name or 'empty', safe='')}/labels")
        assert answer.json()["labels"][0]["labelled"] == 1
