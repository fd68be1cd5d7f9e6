"""A real Kafka broker: Apache Kafka in KRaft mode in a Java process of its own, fetched from Maven Central once.

``UPSHOT_TEST_KAFKA=HOST:PORT`` names a broker to use instead; what only an own broker can be asked (to be killed, to want a
password) is then skipped. Everything listens on the loopback interface.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import NewTopic
from kafka.consumer.fetcher import ConsumerRecord

from tests.conftest import require
from tests.ports import free_ports
from tests.waiting import eventually

START_TIMEOUT_S = 180
USERS = {"writer": "right-password", "stranger": "other-password"}
"""Who may log in where a password is asked for: ``writer`` may do anything, ``stranger`` nothing."""

_POM = Path(__file__).parent / "broker/pom.xml"
_FETCH = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


def broker_given() -> str | None:
    """The address in ``UPSHOT_TEST_KAFKA``."""
    return os.environ.get("UPSHOT_TEST_KAFKA") or None


def require_kafka() -> None:
    """Skip, or fail where every part is required, when no broker can be started here."""
    how = "apt-get install openjdk-17-jre-headless maven, or set UPSHOT_TEST_KAFKA=HOST:PORT"
    require("Java", shutil.which("java") is not None, how)
    require("Maven", shutil.which("mvn") is not None or (_cache() / "libs").exists(), how)


class RunningKafka:
    """One broker; it can be killed, stopped and started again on the same ports and folder.

    Three listeners: ``address`` without any login; ``sasl_address`` with user and password (`USERS`; PLAIN and SCRAM); and, when
    a ``certificate`` (PEM: unencrypted PKCS #8 key and chain) is given, ``tls_address`` with user and password over TLS.
    ``properties`` may be changed before a start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        certificate: Path | None = None,
        partitions: int = 4,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.port, self.sasl_port, self.tls_port, controller = free_ports(4)
        self.address = f"127.0.0.1:{self.port}"
        self.sasl_address = f"127.0.0.1:{self.sasl_port}"
        self.tls_address = f"127.0.0.1:{self.tls_port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        plain = _properties(folder, self.port, self.sasl_port, controller, partitions)
        tls = _tls(self.tls_port, certificate, plain) if certificate else {}
        self.properties = {**plain, **tls, **(properties or {})}

    def start(self) -> None:
        """Start it and wait until it serves."""
        self._starts += 1
        self._launch(fetched())
        eventually(self._serves, START_TIMEOUT_S)

    def stop(self) -> None:
        """Ask it to end, as an operator does; a stopped (`pause`) one goes on first."""
        if self._process is None or self._process.poll() is not None:
            return
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """kill -9."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def restart(self) -> None:
        """kill -9, and start again."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: the broker's sockets accept and never answer."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    @property
    def has_ended(self) -> bool:
        """Whether it ran, and does no more."""
        return self._process is not None and self._process.poll() is not None

    def joined_by(self, folder: Path) -> RunningKafka:
        """A second broker of the same cluster, not started yet. Start this one first: it is the controller."""
        other = RunningKafka(folder)
        brokers = [listener for listener in other.properties["listeners"].split(",") if "CONTROLLER" not in listener]
        other.properties |= {
            "process.roles": "broker",
            "node.id": "2",
            "controller.quorum.voters": self.properties["controller.quorum.voters"],
            "listeners": ",".join(brokers),
        }
        return other

    def create_topic(self, name: str, partitions: int = 1, replicas: int = 1, **settings: str) -> None:
        """As an operator does it."""
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=self.address)) as admin:
            topic = NewTopic(name, num_partitions=partitions, replication_factor=replicas, topic_configs=settings)
            admin.create_topics([topic])

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return (self.folder / "broker.log").read_text(errors="replace")

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _launch(self, libs: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self.folder / "server.properties"
        settings.write_text("".join(f"{name}={value}\n" for name, value in self.properties.items()))
        logged = [
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
        ]
        java = ["java", *logged, "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{libs}/*"]
        with (self.folder / "broker.log").open("ab") as log:
            if not (self.folder / "data").exists():
                cluster = base64.urlsafe_b64encode(b"upshot-of-a-test").decode().rstrip("=")
                formatted = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(settings)]
                for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
                    for name, password in USERS.items():
                        formatted += ["--add-scram", f"{mechanism}=[name={name},password={password}]"]
                subprocess.run([*java, *formatted], check=True, stdout=log, stderr=log, timeout=60)
            self._process = subprocess.Popen(
                [*java, "kafka.Kafka", str(settings)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _serves(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the broker ended with status {self._process.returncode}: {self.log[-3000:]}")
        # Its ports open before it takes its part in the cluster; this line comes after.
        return self.log.count("Kafka Server started") >= self._starts


def fetched() -> Path:
    """The folder of Kafka's 45 jars (43 MB), downloaded at the first call on a machine; the rest of the processes wait."""
    libs = _cache() / "libs"
    if libs.exists():
        return libs
    _cache().mkdir(parents=True, exist_ok=True)
    with (_cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not libs.exists():
            partial = _cache() / "partial"
            shutil.rmtree(partial, ignore_errors=True)
            asked = [
                "mvn",
                "-q",
                "-B",
                "-f",
                str(_POM),
                _FETCH,
                f"-DoutputDirectory={partial}",
                "-DincludeScope=runtime",
            ]
            subprocess.run(asked, check=True, capture_output=True, timeout=600)
            partial.rename(libs)
    return libs


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / f"upshot-tests/kafka-{hashlib.sha256(_POM.read_bytes()).hexdigest()[:12]}"


def _properties(folder: Path, port: int, sasl_port: int, controller: int, partitions: int) -> dict[str, str]:
    users = " ".join(f'user_{name}="{password}"' for name, password in USERS.items())
    login = f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    listeners = f"PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{sasl_port}"
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": listeners,
        "listener.security.protocol.map": ",".join(
            f"{name}:{protocol}"
            for name, protocol in (
                ("CONTROLLER", "PLAINTEXT"),
                ("PLAINTEXT", "PLAINTEXT"),
                ("SASL_PLAINTEXT", "SASL_PLAINTEXT"),
                ("SASL_SSL", "SASL_SSL"),
            )
        ),
        "inter.broker.listener.name": "PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        **{
            f"listener.name.{listener}.{mechanism}.sasl.jaas.config": login if mechanism == "plain" else scram
            for listener in ("sasl_plaintext", "sasl_ssl")
            for mechanism in ("plain", "scram-sha-256", "scram-sha-512")
        },
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:writer",
        "log.dirs": str(folder / "data"),
        "num.partitions": str(partitions),
        "offsets.topic.num.partitions": "1",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        # After kill -9 a broker may register again only when its old session is over (9 s by default).
        "broker.session.timeout.ms": "2000",
        "broker.heartbeat.interval.ms": "500",
    }


def _tls(port: int, certificate: Path, plain: Mapping[str, str]) -> dict[str, str]:
    listener = f",SASL_SSL://127.0.0.1:{port}"
    return {
        "listeners": plain["listeners"] + listener,
        "advertised.listeners": plain["advertised.listeners"] + listener,
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificate),
    }


@contextlib.contextmanager
def consumer(address: str) -> Iterator[KafkaConsumer]:
    """A consumer without a group."""
    made = KafkaConsumer(bootstrap_servers=address, enable_auto_commit=False, auto_offset_reset="earliest")
    try:
        yield made
    finally:
        made.close()


def messages(address: str, topic: str, timeout_s: float = 30.0) -> list[ConsumerRecord]:
    """Every message that a topic holds now, partition by partition; none when there is no such topic."""
    with consumer(address) as reader:
        partitions = [TopicPartition(topic, number) for number in sorted(reader.partitions_for_topic(topic) or ())]
        if not partitions:
            return []
        reader.assign(partitions)
        ends = reader.end_offsets(partitions)
        reader.seek_to_beginning(*partitions)
        found: list[ConsumerRecord] = []
        deadline = time.monotonic() + timeout_s
        while any(reader.position(partition) < ends[partition] for partition in partitions):
            assert time.monotonic() < deadline, f"the messages of {topic} could not be read within {timeout_s} s"
            for records in reader.poll(timeout_ms=200).values():
                found += records
        return sorted(found, key=lambda message: (message.partition, message.offset))
