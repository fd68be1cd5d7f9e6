"""Events of the join benchmark: predictions of 30 features (20 floats, 10 texts) with UUIDv7 request IDs, and a label for each."""

from __future__ import annotations

import random
import time
import uuid
from dataclasses import dataclass

import msgspec
import zstandard

from upshot.wire import NDJSON_CONTENT_TYPE, PACKED_CONTENT_TYPE, LabelEvent, Prediction, pack

MODEL = "bench"
BATCH = 1000
NUMBERS = [f"numeric_{i:02d}" for i in range(20)]
TEXTS = [f"text_{i}" for i in range(10)]


@dataclass(frozen=True)
class Bodies:
    """Batches of ``BATCH`` events, as they travel."""

    content_type: str
    encoding: str
    batches: list[bytes]

    @property
    def headers(self) -> dict[str, str]:
        """Of an HTTP request, or of a Kafka message."""
        return {"content-type": self.content_type} | ({"content-encoding": self.encoding} if self.encoding else {})


def predictions(count: int, seed: int = 0) -> list[Prediction]:
    """Events as a service logs them, of the last minutes."""
    rng = random.Random(seed)
    start = time.time() - 600
    made = []
    for number in range(count):
        at = round(start + number / count * 600, 6)
        features: dict[str, float | str] = {name: rng.gauss(0, 1) for name in NUMBERS}
        features |= {name: f"v{rng.randrange(50)}" for name in TEXTS}
        key = int(at * 1000) << 80 | 7 << 76 | rng.getrandbits(12) << 64 | 2 << 62 | rng.getrandbits(62)
        made.append(
            Prediction(
                request_id=str(uuid.UUID(int=key)),
                model=MODEL,
                model_version="1",
                writer_id=f"bench-{seed}",
                seq=number,
                predicted_at=at,
                prediction=rng.random(),
                features=features,
            )
        )
    return made


def labels_of(events: list[Prediction]) -> list[LabelEvent]:
    """One label for each."""
    return [LabelEvent(request_id=event.request_id, value=index % 2) for index, event in enumerate(events)]


def packed(events: list[Prediction] | list[LabelEvent]) -> Bodies:
    """As the SDK sends them."""
    encode = msgspec.msgpack.Encoder().encode
    return Bodies(
        PACKED_CONTENT_TYPE, "zstd", [zstandard.compress(pack(map(encode, batch)), 1) for batch in _batches(events)]
    )


def ndjson(events: list[Prediction] | list[LabelEvent]) -> Bodies:
    """As anybody may send them, and as ClickHouse reads them too."""
    encode = msgspec.json.Encoder().encode
    return Bodies(NDJSON_CONTENT_TYPE, "", [b"\n".join(map(encode, batch)) + b"\n" for batch in _batches(events)])


def raw_table(name: str) -> str:
    """DDL of a table that takes the NDJSON of predictions as it is: typed columns, as safe against a power cut as ours."""
    numbers = ", ".join(f"{column} Float64" for column in NUMBERS)
    texts = ", ".join(f"{column} String" for column in TEXTS)
    return f"""
CREATE OR REPLACE TABLE {name} (
  request_id String, model LowCardinality(String), model_version LowCardinality(String),
  writer_id LowCardinality(String), seq UInt64,
  predicted_at Float64, prediction Float64, features Tuple({numbers}, {texts})
) ENGINE = MergeTree ORDER BY (model, request_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
"""


def _batches(events: list[Prediction] | list[LabelEvent]) -> list[list[Prediction] | list[LabelEvent]]:
    return [events[start : start + BATCH] for start in range(0, len(events), BATCH)]
