"""Kafka as a transport, against a real broker: what arrives, what is refused, and what a process notices of it."""

from __future__ import annotations

import contextlib
import gc
import http.server
import logging
import os
import random
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from kafka.consumer.fetcher import ConsumerRecord

import upshot
from tests.conftest import require
from tests.logger.collector import balance, decode
from tests.logger.test_lifecycle import in_child, run
from tests.running_kafka import RunningKafka, messages, require_kafka
from tests.waiting import eventually
from upshot.delivery.batch import Batch, Kind, join
from upshot.delivery.transport import open_transport
from upshot.delivery.transport.contract import Transport
from upshot.errors import InvalidBatchError, PayloadTooLargeError, PermanentError, TransientError
from upshot.settings import Settings
from upshot.wire import ARROW_CONTENT_TYPE, NDJSON_CONTENT_TYPE, PACKED_CONTENT_TYPE

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed <(socket|ssl):ResourceWarning"  # kafka-python leaves a connection that was refused to its last reference
)

BATCH = Batch.of("predictions", NDJSON_CONTENT_TYPE, [b'{"request_id": "r", "model": "other tests"}'])
TOPICS = {"predictions": "upshot.predictions", "labels": "upshot.labels", "writers": "upshot.predictions"}


def transport(address: str, options: str = "", api_key: str = "") -> Transport:
    return open_transport(Settings.read({"url": f"kafka://{address}{options}", "api_key": api_key}, {}))


def of_kind(kind: Kind, address: str) -> list[ConsumerRecord]:
    found = messages(address, TOPICS[kind])
    # Other tests of this process share the broker; what was sent again from the dead letters (`upshot-entry`) is no SDK's.
    headers = [dict(message.headers) for message in found]
    return [
        message
        for message, named in zip(found, headers, strict=True)
        if named["upshot-kind"] == kind.encode() and "upshot-entry" not in named
    ]


def frames(message: ConsumerRecord) -> list[bytes]:
    return Batch("predictions", "", 0, message.value).bodies()


def arrived(kind: Kind, address: str, start_of_id: str) -> list[object]:
    """The events of a test, decoded by what the headers of their messages say."""
    events: list[object] = []
    for message in of_kind(kind, address):
        assert message.key is None
        headers = {name: value.decode() for name, value in message.headers}
        if headers["content-type"] == ARROW_CONTENT_TYPE:
            continue  # another test's
        decoded = decode(f"/v1/{kind}", headers, message.value)
        assert len(decoded) == int(headers["upshot-events"])
        events += decoded
    return [event for event in events if event.request_id.startswith(start_of_id)]


def test_events_arrive_in_their_topics_as_they_were_logged(kafka, fresh):
    """Predictions and labels, packed and (for an integer beyond 64 bits) as JSON; each once."""
    with upshot.Logger(url=f"kafka://{kafka}", model=fresh, model_version="1") as logger:
        for i in range(2500):
            logger.log_prediction({"i": i, "nan": float("nan")}, i / 10, request_id=f"{fresh}-{i}")
        logger.log_prediction({"i": 2**70}, 0, request_id=f"{fresh}-2500")
        logger.log_label(f"{fresh}-0", 1, name="clicked")
        assert logger.flush(30)
        stats = logger.stats()
    assert (stats["accepted"], stats["stored"], stats["duplicates"], balance(stats)) == (2502, 2502, 0, 0)
    found = {event.request_id: event for event in arrived("predictions", kafka, fresh)}
    assert len(found) == len(arrived("predictions", kafka, fresh)) == 2501
    assert found[f"{fresh}-7"].features["i"] == 7
    assert found[f"{fresh}-7"].features["nan"] != found[f"{fresh}-7"].features["nan"]
    assert found[f"{fresh}-2500"].features == {"i": 2**70}
    assert {event.seq for event in found.values()} == set(range(2501))
    (label,) = arrived("labels", kafka, fresh)
    assert (label.request_id, label.name, label.value, label.seq) == (f"{fresh}-0", "clicked", 1, 2501)
    types = {dict(message.headers)["content-type"].decode() for message in of_kind("predictions", kafka)}
    assert types >= {PACKED_CONTENT_TYPE, NDJSON_CONTENT_TYPE}


def test_a_message_is_a_batch_byte_for_byte(kafka, fresh):
    """Several zstd frames back to back stay what they are; a writer's books travel beside its predictions."""
    import msgspec

    frames = [
        Batch.of(
            "predictions", PACKED_CONTENT_TYPE, [msgspec.msgpack.encode({"request_id": f"{fresh}-{i}", "model": "m"})]
        )
        for i in range(3)
    ]
    joined = join(frames)
    books = {"writer_id": fresh, "next_seq": 3, "reported_at": 1, "started_at": 0}
    report = Batch.of("writers", NDJSON_CONTENT_TYPE, [msgspec.json.encode(books)])
    sending = transport(kafka)
    assert sending.send(joined, timeout_s=10).stored == 3
    assert sending.send(report, timeout_s=10).stored == 1
    sending.close()
    assert joined.payload in [message.value for message in of_kind("predictions", kafka)]
    assert [event.request_id for event in arrived("predictions", kafka, fresh)] == [f"{fresh}-{i}" for i in range(3)]
    assert report.payload in [message.value for message in of_kind("writers", kafka)]


def test_a_batch_that_is_too_large_is_halved_and_a_too_large_event_dropped(kafka, fresh, caplog):
    """A broker takes 1 MiB by default; ten events of 300 kB that no compression makes smaller are three."""
    limits = {"batch_max_bytes": 8_000_000, "event_max_bytes": 4_000_000}
    rng = random.Random(5)
    with upshot.Logger(url=f"kafka://{kafka}", model="m", flush_interval_s=60, **limits) as logger:
        for i in range(10):
            logger.log_prediction({"text": rng.randbytes(150_000).hex()}, i, request_id=f"{fresh}-{i}")
        logger.log_prediction({"text": rng.randbytes(1_200_000).hex()}, 0, request_id=f"{fresh}-large")
        assert logger.flush(60)
        stats = logger.stats()
    assert (stats["stored"], stats["dropped_too_large_for_server"], balance(stats)) == (10, 1, 0)
    assert sorted(event.request_id for event in arrived("predictions", kafka, fresh)) == [
        f"{fresh}-{i}" for i in range(10)
    ]
    assert caplog.text.count("larger than a Kafka message may be") == 1


def test_the_rows_of_a_frame_arrive_as_arrow_in_messages_that_a_broker_takes(kafka, fresh):
    """A batch of rows is larger than one of events: what is too large is halved, row by row if need be."""
    rng = random.Random(6)
    n = 10_000
    table = pa.table({name: [rng.random() for _ in range(n)] for name in ("score", *(f"x{i}" for i in range(40)))})
    with upshot.Logger(url=f"kafka://{kafka}", model=fresh) as logger:
        ids = logger.log_frame(table, prediction="score").to_pylist()
        assert logger.flush(60)
        stats = logger.stats()
    assert (stats["stored"], stats["dropped"], balance(stats)) == (n, 0, 0)
    found = [message for message in of_kind("predictions", kafka) if fresh.encode() in b"".join(frames(message))]
    assert {dict(message.headers)["content-type"].decode() for message in found} == {ARROW_CONTENT_TYPE}
    rows = [pa.ipc.open_stream(body).read_all() for message in found for body in frames(message)]
    assert sorted(id_ for part in rows for id_ in part["request_id"].to_pylist()) == sorted(ids)
    assert len(found) > 1


def test_the_producer_goes_on_after_a_batch_that_was_refused(kafka):
    """A verdict about a batch says nothing against the connection."""
    sending = transport(kafka)
    sending.send(BATCH, timeout_s=10)
    producer = sending._producer
    with pytest.raises(PayloadTooLargeError):
        sending.send(Batch("predictions", NDJSON_CONTENT_TYPE, 1, random.Random(1).randbytes(2_000_000)), timeout_s=10)
    assert sending.send(BATCH, timeout_s=10).stored == 1
    assert sending._producer is producer
    sending.close()


def test_close_ends_the_threads_and_a_later_send_opens_anew(kafka):
    """Nothing is left running in the service."""
    before = set(threading.enumerate())
    sending = transport(kafka)
    for _ in range(2):
        sending.send(BATCH, timeout_s=10)
        assert set(threading.enumerate()) - before
        sending.close()
        eventually(lambda: not set(threading.enumerate()) - before)
    sending.close()


# ---- login ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKafka]:
    """A broker that asks for a password, over TLS too; ``certificate`` is what to trust."""
    require_kafka()
    openssl = shutil.which("openssl")
    require("openssl", openssl is not None, "apt-get install openssl")
    folder = tmp_path_factory.mktemp("secured")
    made = "-newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -keyout key.pem -out certificate.pem"
    subprocess.run(
        [str(openssl), "req", "-x509", "-addext", "subjectAltName=IP:127.0.0.1", *made.split()],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "certificate.pem").read_text())
    broker = RunningKafka(folder / "kafka", certificate=both)
    broker.start()
    yield broker
    broker.stop()


def login(protocol: str, user: str = "writer", mechanism: str = "PLAIN", **more: str | Path) -> str:
    others = "".join(f"&{name}={value}" for name, value in more.items())
    return f"?security_protocol={protocol}&sasl_mechanism={mechanism}&sasl_plain_username={user}{others}"


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_user_with_the_right_password_writes(secured, mechanism):
    """In the clear, for a network of one's own."""
    sending = transport(secured.sasl_address, login("SASL_PLAINTEXT", mechanism=mechanism), "right-password")
    assert sending.send(BATCH, timeout_s=10).stored == 1
    sending.close()


def test_a_user_with_the_right_password_writes_over_tls(secured):
    """With a certificate of one's own authority."""
    options = login("SASL_SSL", ssl_cafile=secured.folder.parent / "certificate.pem")
    sending = transport(secured.tls_address, options, "right-password")
    assert sending.send(BATCH, timeout_s=10).stored == 1
    sending.close()


REFUSALS = [
    ("SASL_PLAINTEXT", "writer", "wrong-password", "kafka_sasl_authentication_failed"),
    ("SASL_PLAINTEXT", "nobody", "right-password", "kafka_sasl_authentication_failed"),
    ("SASL_PLAINTEXT", "stranger", "other-password", "kafka_topic_authorization_failed"),
    ("SASL_SSL", "writer", "right-password", "kafka_tls_certificate"),
]


@pytest.mark.parametrize(("protocol", "user", "password", "reason"), REFUSALS)
def test_what_somebody_must_mend_is_told_apart_from_what_passes(secured, protocol, user, password, reason, caplog):
    """Its own counter and its own line, once; without a spool the events cannot wait for the one who mends it."""
    address = secured.tls_address if protocol == "SASL_SSL" else secured.sasl_address
    url = f"kafka://{address}{login(protocol, user)}"
    with upshot.Logger(url=url, api_key=password, model="m", spool=False) as logger:
        for _ in range(3):
            logger.log_prediction({}, 0)
        assert logger.flush(20)
        logger.log_prediction({}, 0)
        assert logger.flush(20)
        stats = logger.stats()
    assert (stats[f"dropped_{reason}"], stats["retries"], balance(stats)) == (4, 0, 0)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("upshot")]
    assert len(said) == 1
    assert password not in caplog.text


def test_events_wait_in_the_spool_for_the_right_password(secured, fresh):
    """Whoever mends the setting finds everything that was logged meanwhile."""
    url = f"kafka://{secured.sasl_address}{login('SASL_PLAINTEXT')}"
    logger = upshot.Logger(url=url, api_key="wrong-password", model="m")
    for i in range(5):
        logger.log_prediction({}, 0, request_id=f"{fresh}-{i}")
    assert not logger.flush(20)
    logger.close()
    assert logger.stats()["dropped"] == 0
    with upshot.Logger(url=url, api_key="right-password", model="m") as logger:
        logger.log_prediction({}, 0, request_id=f"{fresh}-5")
        eventually(lambda: len(arrived("predictions", secured.address, fresh)) == 6, 30, 0.3)


def test_no_line_of_the_log_holds_a_value_or_a_password(secured, caplog):
    """Even in an application that logs everything: kafka-python's own DEBUG lines hold both."""
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "kafka"):
        url = f"kafka://{secured.sasl_address}{login('SASL_PLAINTEXT')}"
        with upshot.Logger(url=url, api_key="right-password", model="m") as logger:
            logger.log_prediction({"canary": "a-value-nobody-may-read"}, 0)
            assert logger.flush(20)
    kafkas = [record for record in caplog.records if record.name.startswith("kafka")]
    assert kafkas, "who sets the level of the logger kafka sees its lines"
    assert min(record.levelno for record in kafkas) == logging.INFO
    assert "a-value-nobody" not in caplog.text
    assert "right-password" not in caplog.text


# ---- no broker -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere() -> Iterator[dict[str, str]]:
    """Addresses where no broker is: kind of place -> host:port and options."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with socket.socket() as closed, socket.socket() as silent:
        closed.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        nobody = f"127.0.0.1:{silent.getsockname()[1]}"
        yield {
            "refused": f"127.0.0.1:{closed.getsockname()[1]}",
            "unknown host": "no-such-host.invalid:9092",
            "a web server": f"127.0.0.1:{web.server_port}",
            "silence": nobody,
            "silence where TLS is expected": f"{nobody}?security_protocol=SSL",
            "a web server where TLS is expected": f"127.0.0.1:{web.server_port}?security_protocol=SSL",
        }
        web.shutdown()
        web.server_close()
        thread.join()


PLACES = {
    "refused": "ECONNREFUSED",
    "unknown host": "DNS",
    "a web server": "no Kafka broker answers",
    "silence": "no Kafka broker answers",
    "silence where TLS is expected": "no Kafka broker answers",
    "a web server where TLS is expected": "Handshake failed",
}


def open_sockets() -> set[str]:
    """Of this process. Other tests' files come and go meanwhile, so they do not count."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if (target := str(path.readlink())).startswith("socket:"):
                found.add(target)
    return found


@pytest.mark.parametrize("place", PLACES)
def test_where_no_broker_answers_an_attempt_ends_in_time_and_the_next_may_pass(elsewhere, place, request):
    """It takes no processor meanwhile, and leaves no thread and no connection behind."""
    gc.disable()  # what goes only when it runs has been left behind
    request.addfinalizer(gc.enable)
    before = set(threading.enumerate())
    connections = open_sockets()
    sending = transport(elsewhere[place])
    started, worked = time.monotonic(), time.process_time()
    with pytest.raises(TransientError, match=PLACES[place]):
        sending.send(BATCH, timeout_s=1.5)
    assert time.monotonic() - started < 4
    assert time.process_time() - worked < 1.0  # the store of other tests lives in this process too
    eventually(lambda: not set(threading.enumerate()) - before)
    eventually(lambda: not open_sockets() - connections)
    sending.close()


def test_a_topic_that_does_not_exist_is_waited_for_and_one_of_a_wrong_kind_is_to_be_mended(own_kafka):
    """Where brokers make no topics by themselves, an operator does; meanwhile nothing is lost and the log says why."""
    own_kafka.properties["auto.create.topics.enable"] = "false"
    own_kafka.start()
    sending = transport(own_kafka.address)
    worked = time.process_time()
    with pytest.raises(TransientError, match=r"no topic upshot\.predictions"):
        sending.send(BATCH, timeout_s=2)
    assert time.process_time() - worked < 1
    own_kafka.create_topic("upshot.predictions")
    assert sending.send(BATCH, timeout_s=10).stored == 1
    own_kafka.create_topic("upshot.labels", **{"cleanup.policy": "compact"})
    labels = Batch("labels", BATCH.content_type, 1, BATCH.payload)
    with pytest.raises(PermanentError, match="INVALID_RECORD") as raised:  # a compacted topic wants keys
        sending.send(labels, timeout_s=10)
    assert not isinstance(raised.value, InvalidBatchError), "no other batch will pass either"
    assert sending.send(BATCH, timeout_s=10).stored == 1
    sending.close()


# ---- the process -----------------------------------------------------------------------------------------------------------


def test_kafka_is_imported_when_a_logger_is_configured_and_not_in_a_thread(kafka):
    """A first import in the sender's thread could be forked in its middle, and the child would wait for its lock for ever."""
    script = """
import sys, threading, upshot
assert not [name for name in sys.modules if name.startswith("kafka")]
logger = upshot.Logger(url=sys.argv[1], model="m")
configured = set(sys.modules)
assert "kafka" in configured
assert threading.active_count() == 1
logger.log_prediction({}, 0)
assert logger.flush(20)
logger.close()
print(*sorted(set(sys.modules) - configured))
"""
    done, _ = run(script, f"kafka://{kafka}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == ""


def test_without_kafka_python_configuring_says_what_to_install():
    """The SDK alone does not bring it."""
    script = """
import sys
sys.modules["kafka"] = None
import upshot
try:
    upshot.configure(url="kafka://broker:9092")
except upshot.ConfigurationError as error:
    print(error)
"""
    done, _ = run(script)
    assert 'pip install "upshot[kafka]"' in done.stdout, done.stderr


def test_a_forked_child_has_a_producer_of_its_own(kafka, fresh):
    """The parent's, alive at the fork, is neither used nor waited for in the child, and goes on in the parent."""
    logger = upshot.Logger(url=f"kafka://{kafka}", model="m", flush_interval_s=0.02)
    logger.log_prediction({}, 0, request_id=f"{fresh}-before")
    assert logger.flush(20)

    def child() -> None:
        logger.log_prediction({}, 0, request_id=f"{fresh}-child")
        assert logger.flush(20)
        logger.close()
        gc.collect()

    assert in_child(child) == 0
    assert in_child(gc.collect) == 0
    logger.log_prediction({}, 0, request_id=f"{fresh}-after")
    assert logger.flush(20)
    logger.close()
    found = {event.request_id.removeprefix(f"{fresh}-"): event for event in arrived("predictions", kafka, fresh)}
    assert len(arrived("predictions", kafka, fresh)) == 3
    assert set(found) == {"before", "child", "after"}
    assert found["before"].writer_id == found["after"].writer_id != found["child"].writer_id


def test_a_transport_taken_into_a_child_opens_its_own_connections(kafka):
    """Whoever uses the object itself across a fork cannot write into the parent's connection."""
    sending = transport(kafka)
    sending.send(BATCH, timeout_s=10)

    def child() -> None:
        assert sending.send(BATCH, timeout_s=10).stored == 1
        sending.close()

    assert in_child(child) == 0
    assert sending.send(BATCH, timeout_s=10).stored == 1
    sending.close()


def test_processes_of_multiprocessing_log_and_end(kafka, fresh):
    """Fork and spawn; each child ends on its own, and quickly."""
    script = """
import multiprocessing, sys, upshot

def work(url, name):
    if multiprocessing.get_start_method() == "spawn":
        upshot.configure(url=url, model="m")
    upshot.log_prediction({}, 0, request_id=name)

if __name__ == "__main__":
    _, url, fresh = sys.argv
    upshot.configure(url=url, model="m")
    upshot.log_prediction({}, 0, request_id=f"{fresh}-parent")
    assert upshot.flush(20)
    for method in ("fork", "spawn"):
        multiprocessing.set_start_method(method, force=True)
        children = [multiprocessing.Process(target=work, args=(url, f"{fresh}-{method}-{i}")) for i in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join(20)
        assert [child.exitcode for child in children] == [0, 0]
"""
    path = Path(os.environ["UPSHOT_SPOOL_DIR"]).parent / f"{fresh}.py"
    path.write_text(textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, path, f"kafka://{kafka}", fresh], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = sorted(event.request_id.removeprefix(f"{fresh}-") for event in arrived("predictions", kafka, fresh))
    assert found == ["fork-0", "fork-1", "parent", "spawn-0", "spawn-1"]


def test_what_is_queued_at_the_end_of_the_interpreter_is_sent(kafka, fresh):
    """Nothing to call, nothing on standard error, and no second spent waiting for the library's own hook."""
    script = """
import sys, upshot
upshot.configure(url=sys.argv[1], model="m", flush_interval_s=60)
for i in range(2000):
    upshot.log_prediction({}, 0, request_id=f"{sys.argv[2]}-{i}")
"""
    done, took_s = run(script, f"kafka://{kafka}", fresh)
    assert (done.returncode, done.stderr) == (0, "")
    assert len({event.request_id for event in arrived("predictions", kafka, fresh)}) == 2000
    assert took_s < 10


@pytest.mark.parametrize("spool", [True, False])
def test_a_broker_that_is_away_does_not_hold_up_the_end_of_the_interpreter(elsewhere, spool):
    """Two seconds at most, and one line about it at most, without a traceback of a thread or of a finaliser."""
    script = """
import sys, time, upshot
upshot.configure(url=sys.argv[1], model="m", flush_interval_s=0.02, spool=sys.argv[2] == "True")
upshot.log_prediction({}, 0)
time.sleep(1)
"""
    for place in ("refused", "silence"):
        done, took_s = run(script, f"kafka://{elsewhere[place]}", str(spool))
        assert done.returncode == 0
        said = [line.partition(" ")[0] for line in done.stderr.splitlines()]
        assert said in (["no"], ["closed"], ["no", "closed"], []), done.stderr  # no broker; closed with events unsent
        assert took_s < (1.75 if spool and place == "refused" else 4), (  # a wait takes 1.8 and more
            "what is on disk, and known to be refused, is not waited for"
        )
