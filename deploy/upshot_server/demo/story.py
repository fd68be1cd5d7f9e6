"""The demo from beginning to end, in the order in which it happens."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from rich.console import Console
from sklearn.metrics import roc_auc_score

from upshot_server.demo import flights as year
from upshot_server.demo.clock import SharedClock
from upshot_server.demo.features import ARCHIVE_FEATURES
from upshot_server.demo.feed import Feed
from upshot_server.demo.flights import Flight
from upshot_server.demo.folder import DemoFolder, fresh
from upshot_server.demo.json_client import JsonClient
from upshot_server.demo.model import LateModel, Trained, train
from upshot_server.demo.model_service_client import ModelService
from upshot_server.demo.next_round import judge, judge_unserved, on_the_same_flights, train_next, weather_skew
from upshot_server.demo.planes import Planes
from upshot_server.demo.processes import Child, DemoError, child_process
from upshot_server.demo.progress import Display, display_on
from upshot_server.demo.replay import Replay, step_for
from upshot_server.demo.report import (
    Report,
    comparison_as_json,
    print_comparison,
    print_manifest,
    print_skew,
    print_upshots_own,
)
from upshot_server.demo.training import TrainingSet, from_archives, read_export, write_reference
from upshot_server.demo.upshot_api import Export, UpshotApi, drift_window_for
from upshot_server.demo.watch import Watch
from upshot_server.demo.weather import Weather

HOST = "127.0.0.1"
NEW_YORK = ZoneInfo("America/New_York")
SERVING_STARTS = datetime(2013, 4, 1, tzinfo=NEW_YORK)
EXPORT_AS_OF = datetime(2013, 10, 1, tzinfo=NEW_YORK)
"""The evening's last flights of September are still in the air then: the training set says so, and leaves their labels
out."""
YEAR_ENDS = datetime(2014, 1, 1, tzinfo=NEW_YORK)
A_MOMENT = timedelta(seconds=1)
"""Upshot stamps groups that come at the same moment one after the other; the export's moment is after all of them."""
LAST_LABELS = YEAR_ENDS + timedelta(days=2)
MIN_TRAINING_FLIGHTS = 4_000
"""Version 1 learns from the same share of flights as are replayed, but never from fewer than a model can learn from."""


@dataclass(frozen=True)
class Options:
    """What the caller chose."""

    data: Path
    port: int
    flights: int
    seed: int


class Story:
    """The parts of a running demo, and what happens with them."""

    def __init__(self, options: Options, console: Console, running: ExitStack) -> None:
        self._options = options
        self._console = console
        self._running = running
        self._folder: DemoFolder = running.enter_context(fresh(options.data))
        self._clock = SharedClock.create(self._folder.clock, SERVING_STARTS)
        self.report = Report(f"http://{HOST}:{options.port}/", str(self._folder.root))

    def tell(self) -> Report:
        """Run it all; returns when the report is printed, with the children still up."""
        began = time.monotonic()
        self._upshot = self._start_server()
        self._service = self._start_service()
        self._watch = Watch(self._upshot, self._clock.now, "1")
        self._display: Display = display_on(self._console, self._watch, SERVING_STARTS, LAST_LABELS)
        self._running.callback(self._display.close)
        self._display.say(f"Dashboard: [bold]{self.report.dashboard}[/]  (data in {self._folder.root})")
        with self._timed("load the data"):
            training_flights, spring, autumn, self._weather = self._load()
        with self._timed("train version 1"):
            self._first_version(training_flights)
        replay = self._replay(len(spring) + len(autumn))
        with self._timed("replay April to September"):
            replay.run(spring, EXPORT_AS_OF - A_MOMENT)
            self._clock.advance(EXPORT_AS_OF)
        self._display.close()
        with self._timed("export April to September"):
            export = self._upshot.export(SERVING_STARTS, EXPORT_AS_OF, EXPORT_AS_OF)
        print_manifest(self._console, export)
        with self._timed("train version 2"):
            without_live = self._second_version(export)
        with self._timed("replay October to December"):
            replay.run(autumn, LAST_LABELS - A_MOMENT)
            self._clock.advance(LAST_LABELS)
        self._display.close()
        with self._timed("find out which was better"):
            self._verdict(without_live)
        self._check_reproducible(export)
        self.report.flights |= {"replayed": replay.scored}
        self.report.labels = {key: value for key, value in self._upshot.labels().items() if key != "delay_curve"}
        self.report.webhook = asdict(self._upshot.sent)
        self.report.sdk = self._service.stats
        self.report.trouble = self._watch.trouble
        self.report.seconds["in all"] = round(time.monotonic() - began, 1)
        return self.report

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.report.seconds[part] = round(time.monotonic() - began, 1)

    def _start_server(self) -> UpshotApi:
        with self._timed("start the server"):
            if is_taken(self._options.port):
                raise DemoError(
                    f"port {self._options.port} is in use: end what listens there, or choose another with --port"
                )
            arguments = [
                "--data",
                str(self._folder.store),
                "--clock",
                str(self._folder.clock),
                "--port",
                str(self._options.port),
            ]
            child = self._running.enter_context(child_process("server", self._folder.log("server")))
            child.start("upshot_server.demo.server", arguments)
            api = UpshotApi(self._client(self._options.port, child))
            api.wait_until_ready()
        return api

    def _start_service(self) -> ModelService:
        listener = self._running.enter_context(socket.create_server((HOST, 0)))
        url = self.report.dashboard.rstrip("/")
        arguments = ["--upshot", url, "--models", str(self._folder.models), "--socket", str(listener.fileno())]
        child = self._running.enter_context(child_process("model service", self._folder.log("service")))
        child.start("upshot_server.demo.service", arguments, [listener.fileno()])
        return ModelService(self._client(listener.getsockname()[1], child))

    def _client(self, port: int, child: Child) -> JsonClient:
        client = JsonClient(f"http://{HOST}:{port}", child)
        self._running.callback(client.close)
        return client

    def _load(self) -> tuple[list[Flight], list[Flight], list[Flight], Weather]:
        everything = year.load()
        before, after = year.of_months(everything, 1, 3), year.of_months(everything, 4, 12)
        share = min(1.0, self._options.flights / len(after))
        learning = year.sample(before, max(MIN_TRAINING_FLIGHTS, round(share * len(before))), self._options.seed)
        replayed = year.sample(after, self._options.flights, self._options.seed)
        self.report.flights |= {"known": len(everything), "trained on": len(learning)}
        spring, autumn = year.of_months(replayed, 4, 9), year.of_months(replayed, 10, 12)
        return year.as_flights(learning), year.as_flights(spring), year.as_flights(autumn), Weather.load()

    def _replay(self, flights: int) -> Replay:
        feed = Feed(self._options.seed)
        return Replay(self._clock, self._service, self._upshot, feed, step_for(flights), self._display.step)

    def _first_version(self, flights: list[Flight]) -> None:
        rows = from_archives(flights, self._weather, Planes.load())
        trained = train(rows.columns, rows.labels, ARCHIVE_FEATURES, self._options.seed)
        self._upshot.configure(drift_window_for(self._options.flights))
        self._put_in_service("1", rows, trained)

    def _second_version(self, export: Export) -> LateModel:
        rows = read_export(export.folder, export.files, "1")
        next_round = train_next(rows, self._options.seed)
        self._put_in_service("2", next_round.rows, next_round.trained)
        self.report.export = {"id": export.id, "location": str(export.folder), "manifest": export.manifest}
        return next_round.without_live

    def _put_in_service(self, version: str, rows: TrainingSet, trained: Trained) -> None:
        auc = float(roc_auc_score(rows.labels, trained.held_out))
        self.report.training[version] = {"rows": len(rows), "late": sum(rows.labels), "auc_held_out": auc}
        trained.model.save(self._folder.models / f"version-{version}.joblib")
        reference = self._folder.models / f"version-{version}-training.parquet"
        write_reference(reference, rows, trained.model.features, trained.held_out)
        self._upshot.add_reference(reference, version)
        role = self._service.load_model(version, f"version-{version}.joblib")
        self._display.say(
            f"Version {version} ({role}) learned from {len(rows):,} flights; AUC on held-out thirds {auc:.3f}"
        )

    def _verdict(self, without_live: LateModel) -> None:
        export = self._upshot.export(EXPORT_AS_OF, YEAR_ENDS, self._clock.now())
        first, second = (read_export(export.folder, export.files, version) for version in ("1", "2"))
        first, second = on_the_same_flights(first, second)
        served, unserved = judge(first, second), judge_unserved(first, without_live)
        skew = weather_skew(first, self._weather)
        print_comparison(self._console, served, unserved)
        self.report.comparison_by_upshot = self._upshot.compare("1", "2")
        print_upshots_own(self._console, self.report.comparison_by_upshot)
        print_skew(self._console, skew)
        self.report.comparison = comparison_as_json(served)
        self.report.without_live_features = comparison_as_json(unserved)
        self.report.weather_skew = {name: asdict(of) for name, of in skew.items()}

    def _check_reproducible(self, export: Export) -> None:
        with self._timed("export again"):
            again = self._upshot.export(SERVING_STARTS, EXPORT_AS_OF, EXPORT_AS_OF)
        same = again.manifest["sha256"] == export.manifest["sha256"]
        self.report.export["again"] = {"id": again.id, "sha256": again.manifest["sha256"], "same": same}
        words = "the same bytes" if same else "[bold red]other bytes, which is a defect[/]"
        self._console.print(f"The training set as of 1 October, made again in January: {words}.")


def is_taken(port: int) -> bool:
    """Whether somebody listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
