"""The sources in force, with their history; and their secrets, which never leave."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from upshot_joiner.clock import Stamper, to_micros
from upshot_joiner.errors import Problem, StoreUnavailable
from upshot_joiner.intake.webhooks import mapping
from upshot_joiner.intake.webhooks.source import SourceConfig, Unsigned, is_secret, read_source
from upshot_joiner.store import rows
from upshot_joiner.store.client import Store

_log = logging.getLogger("upshot.intake")

REREAD_S = 5.0
"""How old the configurations may be where another process may have changed them."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

_ALL = "SELECT source, config FROM hook_sources FINAL"


@dataclass(frozen=True)
class Source:
    """A source in force."""

    name: str
    config: SourceConfig
    mapping: mapping.Mapping


class Sources:
    """Reads and keeps configurations. May be used from any thread."""

    def __init__(
        self,
        store: Store,
        stamper: Stamper,
        environment: Mapping[str, str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store.shards[0]
        self._shared = store.is_shared
        self._stamper = stamper
        self._environment = environment
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._texts: dict[str, str] = {}
        self._sources: dict[str, Source] = {}
        self._read()

    def names(self) -> list[str]:
        """Every source, in order."""
        self._refresh()
        return sorted(self._sources)

    def get(self, name: str) -> Source:
        """A source; raises a 404 :class:`Problem` when there is none of this name."""
        self._refresh()
        found = self._sources.get(name)
        if found is None:
            raise Problem(404, "unknown_source", "No source of this name is configured.")
        return found

    def put(self, name: str, raw: Any) -> Source:
        """Put a configuration in force; nothing is written when it is in force already. Raises a 422 :class:`Problem`."""
        if not _NAME.fullmatch(name):
            raise Problem(
                422,
                "invalid_source_name",
                "A source's name has 1 to 64 of: small letters, digits, hyphen, underscore; the first is none of the latter two.",
            )
        with self._lock:
            before = self._sources.get(name)
            config = read_source(raw, before.config if before else None)
            text = json.dumps(config.whole(), ensure_ascii=False)
            if self._texts.get(name) != text:
                # The history first: a crash in between leaves an entry of what never was in force, not a gap.
                stamp = self._stamper.next()
                self._store.insert(
                    "hook_history",
                    pa.table(
                        {
                            "source": [name],
                            "config": [json.dumps(config.shown(), ensure_ascii=False)],
                            "received_at": pa.array([stamp], rows.TIME),
                        }
                    ),
                )
                self._store.insert(
                    "hook_sources",
                    pa.table(
                        {"source": [name], "config": [text], "version": pa.array([to_micros(stamp)], pa.uint64())}
                    ),
                )
                self._keep(name, config, text)
            return self._sources[name]

    def secrets(self, source: Source) -> list[str]:
        """The secrets that are there now. Raises a 503 :class:`Problem` when a signature is wanted and none is there."""
        found = []
        for secret in source.config.secrets:
            text = secret.value.get_secret_value() if secret.value else self._environment.get(secret.env or "", "")
            if is_secret(source.config.signature, text):
                found.append(text)
        if not found and not isinstance(source.config.signature, Unsigned):
            _log.error("source %s: no secret is there, or none as its scheme writes it", source.name)
            raise Problem(503, "secret_missing", "Signatures cannot be checked now; try again.", retry_after_s=30)
        return found

    def shown(self, source: Source) -> dict[str, Any]:
        """The configuration without secrets; of each that comes from the environment, whether it is there."""
        shown = source.config.shown()
        for secret in shown["signature"].get("secrets", ()):
            if "env" in secret:
                secret["found"] = is_secret(source.config.signature, self._environment.get(secret["env"], ""))
        return shown

    def _refresh(self) -> None:
        if self._shared and self._monotonic() - self._read_at > REREAD_S:
            with self._lock:
                try:
                    self._read()
                except StoreUnavailable as error:  # those that are known hold until it is back
                    _log.warning("sources could not be read again (code %d)", error.code)

    def _read(self) -> None:
        self._read_at = self._monotonic()
        for name, text in self._store.query(_ALL):
            if self._texts.get(name) != text:
                self._keep(name, read_source(json.loads(text)), text)

    def _keep(self, name: str, config: SourceConfig, text: str) -> None:
        self._sources[name] = Source(name, config, mapping.Mapping(name, config.mapping))
        self._texts[name] = text
