"""`upshot.integrations.fastapi` in real applications, served by uvicorn over HTTP."""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import httpx
import pytest
import uvicorn
import websockets.sync.client
from fastapi import BackgroundTasks, Depends, FastAPI, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.applications import Starlette
from starlette.routing import Route

import upshot
from tests.logger.collector import Collector
from upshot.capture.request_id import RequestIds
from upshot.integrations.fastapi import PredictionLog, UpshotMiddleware, prediction_log, request_id

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The application behind a real socket; yields its address without a scheme."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="websockets-sansio"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def application(logger: upshot.Logger) -> FastAPI:
    """Endpoints of every kind."""
    app = FastAPI()
    app.add_middleware(UpshotMiddleware)
    Log = Annotated[PredictionLog, Depends(prediction_log(logger, tags={"channel": "web"}))]  # noqa: N806  # a type

    @app.post("/async")
    async def in_the_loop(features: dict[str, float], log: Log) -> str:
        return log.prediction(features, 0.5)

    @app.post("/sync")
    def in_a_thread(features: dict[str, float], log: Log, id_: Annotated[str, Depends(request_id)]) -> list[str]:
        return [id_, log.request_id, log.prediction(features, 0.5)]

    @app.post("/plain")
    async def plain(features: dict[str, float], log: Log) -> list[str]:
        return [
            logger.log_prediction(features, 0.5),
            log.prediction(features, 0.6),
            await asyncio.to_thread(deep, features),
        ]

    def deep(features: dict[str, float]) -> str:
        return logger.log_prediction(features, 0.7)

    @app.post("/executor")
    async def executor(features: dict[str, float], log: Log) -> str:
        return await asyncio.get_running_loop().run_in_executor(None, log.prediction, features, 0.5)

    @app.post("/batch")
    def batch(rows: list[dict[str, float]], log: Log) -> list[str]:
        return [log.prediction(row, 0.5) for row in rows]

    @app.post("/slate")
    async def slate(rows: list[dict[str, float]], log: Log) -> list[str]:
        return [log.prediction(row, 0.5, item_id=str(n)) for n, row in enumerate(rows)]

    @app.post("/shadow")
    async def shadow(log: Log) -> list[str]:
        return [
            log.prediction({"a": 1}, 0.5, model="champion"),
            log.prediction({"a": 1}, 0.6, model="challenger"),
            log.prediction({"a": 1}, 0.7, model="champion", model_version="2"),
            log.prediction({"a": 1}, 0.8, model="champion", request_id="mine"),
        ]

    @app.post("/background")
    async def background(tasks: BackgroundTasks, log: Log) -> str:
        tasks.add_task(log.prediction, {"a": 1}, 0.5)
        return log.request_id

    @app.get("/stream")
    async def stream(log: Log) -> StreamingResponse:
        async def parts() -> Any:
            yield b"first"
            await gate.wait()
            yield log.prediction({"a": 1}, 0.5)

        gate = app.state.gate = asyncio.Event()
        return StreamingResponse(parts())

    @app.get("/open")
    async def opened() -> None:
        app.state.gate.set()

    @app.get("/own-header")
    async def own_header(log: Log) -> JSONResponse:
        return JSONResponse(log.prediction({"a": 1}, 0.5), headers={"X-Request-ID": "the application's"})

    @app.get("/fails")
    async def fails() -> None:
        raise ZeroDivisionError

    @app.websocket("/socket")
    async def talk(socket: WebSocket, log: Log) -> None:
        await socket.accept()
        async for text in socket.iter_text():
            await socket.send_text(log.prediction({"text": text}, 0.5))
            await socket.send_text(logger.log_prediction({"text": text}, 0.5))

    return app


@pytest.fixture
def http(logger: upshot.Logger) -> Iterator[httpx.Client]:
    with served(application(logger)) as address, httpx.Client(base_url=f"http://{address}") as client:
        yield client


def test_the_prediction_has_the_id_of_the_request_and_the_response_says_it(http, logger, collector):
    """In async and in sync endpoints, which run in a thread."""
    answer = http.post("/async", json={"a": 1}, headers={"X-Request-ID": "order-17"})
    assert (answer.json(), answer.headers.get_list("x-request-id")) == ("order-17", ["order-17"])
    answer = http.post("/sync", json={"a": 2}, headers={"X-Request-ID": "order-18"})
    assert (answer.json(), answer.headers["x-request-id"]) == (["order-18"] * 3, "order-18")
    logger.flush()
    assert [(p.request_id, p.features, p.tags) for p in collector.predictions] == [
        ("order-17", {"a": 1}, {"channel": "web"}),
        ("order-18", {"a": 2}, {"channel": "web"}),
    ]


@pytest.mark.parametrize(
    "incoming", [None, b"", b"x" * 201, b"with space", b"caf\xc3\xa9", b"tab\there", b"a, b"], ids=repr
)
def test_a_missing_or_unusable_id_becomes_a_uuid7(http, logger, collector, incoming):
    """Nothing that a stranger sends gets into logs, stores or headers unchecked."""
    answer = http.post("/async", json={"a": 1}, headers=[] if incoming is None else [(b"x-request-id", incoming)])
    assert UUID7.fullmatch(answer.json())
    assert answer.headers["x-request-id"] == answer.json()
    logger.flush()
    assert [p.request_id for p in collector.predictions] == [answer.json()]


def test_the_longest_usable_id_is_kept(http):
    longest = "~" * 100 + "!" * 100
    assert http.post("/async", json={"a": 1}, headers={"x-request-id": longest}).json() == longest


def test_of_two_headers_the_first_counts(http):
    answer = http.post("/async", json={"a": 1}, headers=[("x-request-id", "one"), ("X-Request-ID", "two")])
    assert answer.json() == "one"


def test_header_and_trust_can_be_chosen(logger):
    app = application(logger)
    app.user_middleware.clear()
    app.add_middleware(UpshotMiddleware, header="X-Trace", trust_incoming=False)
    with served(app) as address:
        answer = httpx.post(f"http://{address}/async", json={"a": 1}, headers={"x-trace": "a", "x-request-id": "b"})
    assert UUID7.fullmatch(answer.json())
    assert answer.headers["x-trace"] == answer.json()
    assert "x-request-id" not in answer.headers


def test_further_predictions_of_a_request_are_numbered(http, logger, collector):
    """A batch in one request: every row is kept, each under an ID that labels can name; sent again it has the same IDs."""
    for _ in range(2):
        answer = http.post("/batch", json=[{"a": n} for n in range(3)], headers={"x-request-id": "r"})
        assert answer.json() == ["r", "r~2", "r~3"]
        assert answer.headers["x-request-id"] == "r"
    logger.flush()
    assert [(p.request_id, p.features["a"]) for p in collector.predictions] == [("r", 0), ("r~2", 1), ("r~3", 2)] * 2


def test_log_prediction_anywhere_in_the_request_has_its_id(http, logger, collector):
    """Deep in the code, where no request and no log is at hand; and where no context is, the log has the ID."""
    assert http.post("/plain", json={"a": 1}, headers={"x-request-id": "p"}).json() == ["p", "p~2", "p~3"]
    assert http.post("/executor", json={"a": 1}, headers={"x-request-id": "e"}).json() == "e"
    logger.flush()
    assert sorted(p.request_id for p in collector.predictions) == ["e", "p", "p~2", "p~3"]


def test_items_and_models_share_the_id_of_the_request(http, logger, collector):
    assert http.post("/slate", json=[{"a": n} for n in range(3)], headers={"x-request-id": "s"}).json() == ["s"] * 3
    assert http.post("/shadow", headers={"x-request-id": "c"}).json() == ["c", "c", "c", "mine"]
    logger.flush()
    identities = [(p.model, p.model_version, p.request_id, p.item_id) for p in collector.predictions]
    assert len(set(identities)) == len(identities) == 7


def test_a_background_task_has_the_id_of_its_request(http, logger, collector):
    id_ = http.post("/background").json()
    assert UUID7.fullmatch(id_)
    collector_has = lambda: (logger.flush(), [p.request_id for p in collector.predictions])[1]  # noqa: E731
    deadline = time.monotonic() + 10
    while collector_has() != [id_]:
        assert time.monotonic() < deadline, collector.predictions
        time.sleep(0.01)


def test_a_stream_passes_part_by_part(http, logger, collector):
    """The first part arrives while the second is not made yet; what is logged in the stream has the ID."""
    with http.stream("GET", "/stream", headers={"x-request-id": "flow"}) as answer:
        parts = answer.iter_raw()
        assert next(parts) == b"first"
        httpx.get(str(http.base_url.join("/open")))
        assert b"".join(parts) == b"flow"
        assert answer.headers["x-request-id"] == "flow"


def test_a_header_of_the_application_stays(http):
    answer = http.get("/own-header", headers={"x-request-id": "incoming"})
    assert answer.headers.get_list("x-request-id") == ["the application's"]
    assert answer.json() == "incoming"


def test_an_exception_passes_and_the_next_request_has_its_own_id(http):
    assert httpx.get(str(http.base_url.join("/fails"))).status_code == 500  # uvicorn ends the connection afterwards
    assert http.get("/missing", headers={"x-request-id": "none"}).headers["x-request-id"] == "none"
    assert http.post("/async", json={"a": 1}, headers={"x-request-id": "next"}).json() == "next"


def test_the_exception_is_the_applications_own(logger):
    """Seen from outside the middleware it is the same object."""
    error = RuntimeError("mine")

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise error

    with pytest.raises(RuntimeError) as raised:
        asyncio.run(UpshotMiddleware(fails)({"type": "http", "headers": []}, None, None))  # type: ignore[arg-type]
    assert raised.value is error


def test_a_websocket_passes_untouched_and_its_predictions_have_ids_of_their_own(http, logger, collector):
    """One connection carries any number of predictions, so the header of its handshake names none of them."""
    address = f"ws://{http.base_url.netloc.decode()}/socket"
    with websockets.sync.client.connect(address, additional_headers={"x-request-id": "handshake"}) as socket:
        ids = []
        for n in range(3):
            socket.send(str(n))
            ids += [socket.recv(), socket.recv()]
    logger.flush()
    assert [p.request_id for p in collector.predictions] == ids
    assert len(set(ids)) == 6
    assert not [id_ for id_ in ids if "handshake" in str(id_)]


def test_without_the_middleware_every_request_has_a_new_id(logger):
    app = application(logger)
    app.user_middleware.clear()
    with served(app) as address:
        answers = [httpx.post(f"http://{address}/batch", json=[{"a": 1}, {"a": 2}]) for _ in range(2)]
    first, second = (answer.json() for answer in answers)
    assert first[1] == f"{first[0]}~2"
    assert UUID7.fullmatch(first[0])
    assert first[0] != second[0]
    assert "x-request-id" not in answers[0].headers


def test_requests_that_run_at_the_same_time_do_not_mix(logger, collector):
    """Async and sync endpoints, many at once."""
    app = application(logger)

    async def all_at_once(address: str) -> list[tuple[str, Any]]:
        async with httpx.AsyncClient(base_url=f"http://{address}") as client:
            answers = await asyncio.gather(
                *(
                    client.post(("/async", "/sync")[n % 2], json={"n": n}, headers={"x-request-id": f"r{n}"})
                    for n in range(60)
                )
            )
        return [(answer.headers["x-request-id"], answer.json()) for answer in answers]

    with served(app) as address:
        for n, (header, body) in enumerate(asyncio.run(all_at_once(address))):
            assert header == f"r{n}"
            assert body == (header if n % 2 == 0 else [header] * 3)
    logger.flush()
    assert {p.request_id: p.features["n"] for p in collector.predictions} == {f"r{n}": n for n in range(60)}


def test_it_works_in_plain_starlette_around_the_whole_application(logger, collector):
    """Wrapped around the application itself, so that even a failure's response bears the ID."""
    log_of_this_request = prediction_log(logger, model="other")

    async def predict(request: Any) -> JSONResponse:
        log = await log_of_this_request()
        return JSONResponse(log.prediction({"a": 1}, 0.5))

    async def fails(request: Any) -> JSONResponse:
        raise ZeroDivisionError

    app = UpshotMiddleware(Starlette(routes=[Route("/", predict), Route("/fails", fails)]))
    with served(app) as address:
        answer = httpx.get(f"http://{address}/", headers={"x-request-id": "one"})
        assert (answer.json(), answer.headers["x-request-id"]) == ("one", "one")
        failed = httpx.get(f"http://{address}/fails", headers={"x-request-id": "two"})
        assert (failed.status_code, failed.headers["x-request-id"]) == (500, "two")
    logger.flush()
    assert [(p.request_id, p.model) for p in collector.predictions] == [("one", "other")]


def test_what_cannot_be_logged_raises_nothing(logger, collector: Collector):
    class Hostile:
        def __str__(self) -> str:
            raise ValueError

    async def log() -> str:
        return (await prediction_log(logger)()).prediction(None, object(), item_id=Hostile())  # type: ignore[arg-type]

    assert UUID7.fullmatch(asyncio.run(log()))
    assert logger.stats()["dropped_failed"] == 1


def test_threads_that_share_a_request_get_different_ids():
    """Sixteen threads take at once, many times over."""
    ids = RequestIds("r")
    taken: list[str] = []
    barrier = threading.Barrier(16)

    def take() -> None:
        barrier.wait()
        taken.extend([ids.take("m", "1", "") for _ in range(200)])

    threads = [threading.Thread(target=take) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(taken) == {"r", *(f"r~{n}" for n in range(2, 3201))}
    assert len(taken) == 3200
