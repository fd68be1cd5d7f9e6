"""A service that scores with features of a real Feast store; run by test_feast.py in Feast's own environment.

``feast_service.py FOLDER`` makes a store there (registry and online store are SQLite files), materializes drivers into it, asks
for their features and logs predictions by them. The last line that it prints is what Feast answered, as JSON.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

warnings.simplefilter("ignore")

import pandas as pd  # noqa: E402
import uvicorn  # noqa: E402
from feast import (  # noqa: E402
    Entity,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    RepoConfig,
    RequestSource,
    ValueType,
)
from feast.feature_server import get_app  # noqa: E402
from feast.on_demand_feature_view import on_demand_feature_view  # noqa: E402
from feast.online_response import OnlineResponse  # noqa: E402
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse  # noqa: E402
from feast.types import Array, Bool, Float64, Int64, String, UnixTimestamp  # noqa: E402

import upshot  # noqa: E402
from upshot.integrations.feast import features_of, log_online_features  # noqa: E402

NOW = datetime.now(UTC).replace(microsecond=0)
FEATURES = ["conv_rate", "trips", "city", "is_new", "embedding", "joined"]
DRIVERS = {
    "driver_id": [1001, 1002, 1003],
    "event_timestamp": [NOW - timedelta(minutes=5), NOW - timedelta(hours=30), NOW - timedelta(minutes=1)],
    "conv_rate": [0.5, 0.0, None],
    "trips": [7, 0, 3],
    "city": ["Berlin", "", None],
    "is_new": [True, False, False],
    "embedding": [[0.1, 0.2], [0.3, 0.4], [1.0, 2.0]],
    "joined": [NOW - timedelta(days=100)] * 3,
}
"""Driver 1002 is older than the view keeps its rows, 1003 has nulls, 1004 is in no row."""


def made(folder: Path) -> FeatureStore:
    """A materialized store."""
    pd.DataFrame(DRIVERS).to_parquet(folder / "drivers.parquet")
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    types = (Float64, Int64, String, Bool, Array(Float64), UnixTimestamp)
    stats = FeatureView(
        name="driver_stats",
        entities=[driver],
        ttl=timedelta(hours=24),
        schema=[Field(name=name, dtype=dtype) for name, dtype in zip(FEATURES, types, strict=True)],
        source=FileSource(path=str(folder / "drivers.parquet"), timestamp_field="event_timestamp"),
    )
    request = RequestSource(name="request", schema=[Field(name="distance", dtype=Float64)])

    @on_demand_feature_view(sources=[stats, request], schema=[Field(name="trips_per_km", dtype=Float64)])
    def per_km(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"trips_per_km": inputs["trips"] / inputs["distance"]})

    store = FeatureStore(
        config=RepoConfig(
            project="rides",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            offline_store={"type": "file"},
            entity_key_serialization_version=3,
        )
    )
    store.apply([driver, stats, per_km])
    store.materialize(NOW - timedelta(days=3), NOW + timedelta(minutes=1), disable_event_timestamp=False)
    return store


def served(store: FeatureStore, features: Any, drivers: list[int], **options: Any) -> Any:
    """What the online store answers for these drivers."""
    rows = [{"driver_id": driver, **options.pop("request", {})} for driver in drivers]
    return store.get_online_features(features=features, entity_rows=rows, **options)


def as_other_servers_say_it(response: OnlineResponse) -> OnlineResponse:
    """The same message with the two statuses that Feast's servers in Go and Java know, and the one in Python says neither of."""
    proto = GetOnlineFeaturesResponse.FromString(response.proto.SerializeToString())
    for name, vector in zip(proto.metadata.feature_names.val, proto.results, strict=True):
        if name != "driver_id":
            vector.statuses[1] = FieldStatus.OUTSIDE_MAX_AGE
        if not vector.values[2].WhichOneof("val"):
            vector.statuses[2] = FieldStatus.NULL_VALUE
    return OnlineResponse(proto)


def asked_over_http(store: FeatureStore, body: dict[str, Any]) -> Any:
    """What Feast's feature server answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(get_app(store), log_level="critical"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/get-online-features"  # who comes too early waits in the queue
        request = Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
        with urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)
    finally:
        server.should_exit = True
        thread.join()


def main(folder: Path) -> None:
    """Log one prediction or more by each way; the model's name says which."""
    store = made(folder)
    references = [f"driver_stats:{name}" for name in FEATURES]
    drivers = [1001, 1002, 1003, 1004]

    response = served(store, references, drivers)
    ids = log_online_features(
        response, [0.1, 0.2, 0.3, 0.4], entities=["driver_id"], model="rows", tags={"channel": "web"}
    )
    log_online_features(
        as_other_servers_say_it(response), [0.1, 0.2, 0.3, 0.4], entities=["driver_id"], model="statuses"
    )

    one = served(store, references, [1001], full_feature_names=True)
    log_online_features(one, 0.5, entities=["driver_id"], model="one", request_ids="r1", features={"amount": 12.5})
    log_online_features(one, {"ok": 0.25, "bad": 0.75}, entities=["driver_id"], model="probabilities")
    kept = features_of(one, entities=["driver_id"])
    upshot.log_prediction(prediction=0.5, model="keywords", request_id="r2", **kept)

    demanded = served(store, ["driver_stats:trips", "per_km:trips_per_km"], [1001], request={"distance": 2.0})
    log_online_features(demanded, [0.5], entities=["driver_id"], model="demanded")

    slate = log_online_features(
        served(store, references[:2], [1001, 1003]),
        pd.Series([0.6, 0.7]),
        entities=["driver_id"],
        features=[{"rank": 1}, {"rank": 2}],
        item_ids=["a", "b"],
        model="slate",
    )

    answer = asked_over_http(store, {"features": references, "entities": {"driver_id": drivers}})
    log_online_features(answer, [0.1, 0.2, 0.3, 0.4], entities=["driver_id"], model="server")

    log_online_features(response, [0.1, 0.2], entities=["driver_id"], model="odd")  # two predictions, four rows
    log_online_features(None, [0.1], entities=[], model="odd")  # type: ignore[arg-type]
    log_online_features({"results": "none"}, 0.1, entities=[], model="odd")
    log_online_features(one, 0.1, entities=[], features=[], model="odd")
    upshot.log_prediction(prediction=0.1, model="odd", **features_of(one, 7, entities=[]))
    failed = upshot.stats()["dropped_failed"]
    log_online_features(one, 0.1, entities=["driver_id", "passenger_id"], model="unknown entity")

    assert upshot.flush(30)
    times = [at.timestamp() for at in DRIVERS["event_timestamp"]]
    values = response.to_dict()
    values["joined"] = [at and at.isoformat() for at in values["joined"]]
    print(json.dumps({"values": values, "times": times, "ids": ids, "slate": slate, "failed": failed}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
