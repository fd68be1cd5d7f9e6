"""Embeddings over HTTP, on the real server: what the API says of a vector, and the picture that its page draws of it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.browser.conftest import OpenPage
from tests.running import RunningServer
from tests.waiting import eventually

pytestmark = pytest.mark.browser

MODEL = "search"
DIMENSIONS = 32
ROWS = 300
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
ADDRESS = f"/v1/models/{MODEL}/features/embedding"


@pytest.fixture(scope="module")
def embeddings(chromium: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A reference of embeddings, and two days of them: as ever, then with a moved centroid, most of it in two dimensions."""
    rng = np.random.default_rng(3)
    server = RunningServer(tmp_path_factory.mktemp("embeddings") / "data")
    server.start()
    training = pa.table({"embedding": list(rng.normal(0, 1, (1_000, DIMENSIONS)))})
    pq.write_table(training, body := io.BytesIO())
    sent = server.http.post(f"/v1/models/{MODEL}/references?model_version=1", content=body.getvalue())
    assert sent.status_code == 201, sent.text
    moved = np.full(DIMENSIONS, 0.1)
    moved[5], moved[7] = -1.2, 0.8
    events = []
    for day, shift in enumerate((0 * moved, moved)):
        for i, vector in enumerate(rng.normal(0, 1, (ROWS, DIMENSIONS)) + shift):
            at = NOW - timedelta(days=2 - day) + timedelta(days=1) * i / ROWS
            cut = vector[:4] if day and i % 50 == 0 else vector
            events.append(
                {
                    "request_id": f"{day}-{i}",
                    "model": MODEL,
                    "model_version": "1",
                    "predicted_at": at.isoformat(),
                    "prediction": 0.5,
                    "features": {"embedding": cut.tolist()},
                }
            )
    assert server.post("/v1/predictions", events).json()["accepted"] == len(events)

    def rolled() -> bool:
        answer = server.http.get(ADDRESS, params={"end": NOW.isoformat()}).json()
        return sum(day["rows"] for day in answer.get("windows", ())) == 2 * ROWS

    eventually(rolled, 60)
    yield server
    server.end()


def test_the_api_says_how_an_embedding_drifted(embeddings: RunningServer) -> None:
    """The verdict, the number of all rows beside it, the dimensions that moved most, lengths, cosine, the norm."""
    asked = {"end": NOW.isoformat(), "exact": "true"}
    [row] = embeddings.http.get(f"/v1/models/{MODEL}/drift", params=asked).json()["features"]
    assert (row["feature"], row["kind"], row["method"], row["verdict"]) == ("embedding", "vector", "centroid", "drift")
    assert abs(row["exact"]["difference"]) < 1e-12
    assert row["reason"].startswith("dimension 5 moved by -1.")
    found = embeddings.http.get(ADDRESS, params=asked).json()
    assert [one["dimension"] for one in found["vector"]["moved"][:2]] == [5, 7]
    assert len(found["vector"]["moved"]) == 20
    assert found["vector"]["lengths"]["current"] == [
        {"length": DIMENSIONS, "rows": 294, "finite": 294},
        {"length": 4, "rows": 6, "finite": 6},
    ]
    assert -1 <= found["vector"]["cosine"] < 0.9
    assert found["norm"]["method"] == "wasserstein"
    assert len(found["histogram"]["current"]) == 40
    lines = embeddings.http.get(ADDRESS, params={"code": "true"}).text
    compile(lines, "code", "exec")


def test_the_page_draws_a_bar_for_each_dimension_that_moved(embeddings: RunningServer, open_page: OpenPage) -> None:
    """The furthest on top, those that moved far in another colour; the norm's histogram below; the same numbers in a table."""
    shown = open_page(f"{embeddings.url}/models/{MODEL}")
    shown.says("tr.feature", "embedding drift")
    shown.says("tr.feature", "centroid")
    shown.page.get_by_role("button", name="embedding", exact=True).click()
    bars = ".detail-part:has(> h4:text-is('Dimensions that moved most')) .plot"
    eventually(lambda: shown.page.locator(f"{bars} .main-svg").count() > 0, 30)
    answer = embeddings.http.get(ADDRESS, params={"version": "1"}).json()
    drawn = shown.page.locator(bars).first.evaluate(
        "plot => ({y: plot.data[0].y, x: plot.data[0].x, colours: plot.data[0].marker.color})"
    )
    moved = answer["vector"]["moved"]
    assert drawn["y"][::-1] == [f"dim {one['dimension']}" for one in moved]
    assert drawn["x"][::-1] == pytest.approx([one["shift"] for one in moved])
    far = [abs(shift) >= 0.5 for shift in drawn["x"]]
    assert len({(colour, is_far) for colour, is_far in zip(drawn["colours"], far, strict=True)}) == 2
    shown.says(".detail .sub", "32 dimensions; cosine of the centroids")
    shown.says(".detail .sub", "the norm by wasserstein")
    shown.says(".detail", "Norm, reference and now")
    shown.says(".detail table:has-text('Other lengths')", "Length 32 32 Other lengths")
    part = shown.page.locator(".detail-part:has(> h4:text-is('Dimensions that moved most'))")
    part.locator("summary").click()
    eventually(lambda: part.locator("tbody tr").count() == 20)
    assert part.locator("tbody tr").first.inner_text().split()[0] == "5"
    shown.clean(embeddings.url)
