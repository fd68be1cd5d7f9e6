"""What can be set of the embedded server; each can come from ``UPSHOT_…`` variables too."""

from __future__ import annotations

import ipaddress
import os
import uuid
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from upshot_joiner.errors import Problem
from upshot_joiner.intake.kserve.naming import Naming

DEFAULT_PORT = 8750


class Settings(BaseModel):
    """Settings of one server process."""

    model_config = ConfigDict(frozen=True)

    data_dir: Path = Path("upshot-data")
    """Where everything is kept. Belongs to one process at a time."""
    host: str = "127.0.0.1"
    """Loopback only: the embedded server asks for no key."""
    port: int = Field(default=DEFAULT_PORT, ge=0, le=65535)
    clickhouse: SecretStr = SecretStr("")
    """URLs of ClickHouse servers, a shard each, separated by commas; empty: the store is embedded. May hold passwords."""
    cluster: str = ""
    """What these servers call the cluster of them (``remote_servers``); empty: found out."""
    kafka: str = ""
    """Brokers that requests' events are handed to, for workers to store; empty: this process stores them."""
    kafka_password: SecretStr = SecretStr("")
    """For SASL."""
    config_file: Path | None = None
    """A YAML file with a ``models:`` section, applied at start."""

    kserve_wait_s: float = Field(default=3600, gt=0, le=30 * 86400, allow_inf_nan=False)
    """How long a request of KServe's logger waits for its response, or the reverse, before it goes to quarantine."""
    kserve_model: str = Naming.model
    """What the model of an inference service is called; see :class:`Naming`."""
    kserve_request_id: str = Field(default=Naming.request_id, pattern=r"^(body|ce-id|header:.+)$")
    """What becomes the request ID of an inference; see :class:`Naming`."""

    label_secrets: tuple[SecretStr, ...] = ()
    """``whsec_`` secrets that label webhooks are signed with; several while one takes over from another."""
    label_secrets_file: Path | None = None
    """The same, one a line, in a file that is read again when it changes."""
    label_keys: tuple[str, ...] = ()
    """Hashes (``sha256:...``) of keys that may send labels and nothing else."""
    label_auth: Literal["optional", "required"] = "optional"
    """Whether a label without a signature and without a key is refused."""

    verify_every_s: float = Field(default=3600, ge=0, allow_inf_nan=False)
    """How often everything that is stored is counted again, in the background; 0: only when asked."""

    @property
    def clickhouse_urls(self) -> list[str]:
        """One URL per shard, in the order of the shards; none: the store is embedded."""
        return [url.strip() for url in self.clickhouse.get_secret_value().split(",") if url.strip()]

    @property
    def exports_dir(self) -> Path:
        """The folder below which exports are written, and nowhere else."""
        return self.data_dir / "exports"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host == "localhost" or _is_loopback(self.host)

    def server_id(self) -> str:
        """A name of this server that lasts as long as its data folder: its exports and reports are there."""
        file = self.data_dir / "server-id"
        if not file.exists():
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            file.write_text(uuid.uuid4().hex, "ascii")
        return file.read_text("ascii")

    def check_address(self) -> None:
        """Refuse to listen where others could reach a server that asks for no key."""
        if not self.is_local:
            raise Problem(
                422,
                "address_needs_keys",
                f"The embedded server listens on 127.0.0.1 only, not on {self.host}: it has no API keys yet.",
            )


def from_environment(**given: object) -> Settings:
    """Settings from arguments that are not None, else from variables, else defaults.

    The variables are ``UPSHOT_DATA``, ``UPSHOT_PORT``, ``UPSHOT_CONFIG``, ``UPSHOT_CLICKHOUSE_URL``, ``UPSHOT_CLICKHOUSE_CLUSTER``,
    and ``UPSHOT_KSERVE_...`` and ``UPSHOT_LABEL_...`` for the settings of that name; several secrets or keys are separated by
    spaces.
    """
    variables = {"data_dir": "UPSHOT_DATA", "port": "UPSHOT_PORT", "config_file": "UPSHOT_CONFIG"}
    variables |= {"clickhouse": "UPSHOT_CLICKHOUSE_URL", "cluster": "UPSHOT_CLICKHOUSE_CLUSTER"}
    variables |= {name: f"UPSHOT_{name.upper()}" for name in ("kserve_wait_s", "kserve_model", "kserve_request_id")}
    variables |= {name: f"UPSHOT_{name.upper()}" for name in ("label_secrets_file", "label_auth", "verify_every_s")}
    values: dict[str, object] = {
        name: os.environ[variable] for name, variable in variables.items() if os.environ.get(variable)
    }
    values |= {name: os.environ.get(f"UPSHOT_{name.upper()}", "").split() for name in ("label_secrets", "label_keys")}
    values.update({name: value for name, value in given.items() if value is not None})
    return Settings.model_validate(values)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
