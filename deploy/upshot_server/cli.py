"""The ``upshot`` command line. ``up`` and ``demo`` run a server; every other command talks to a running one."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from upshot import __version__
from upshot.errors import ConfigurationError
from upshot_joiner.errors import Problem, StoreError
from upshot_server.client import ServerClient, ServerRefused
from upshot_server.commands.alerts import alerts, check
from upshot_server.commands.labels import labels
from upshot_server.commands.labels_told import print_json
from upshot_server.commands.multivariate import multivariate
from upshot_server.commands.options import DEFAULT_URL, AsJson, Url
from upshot_server.commands.skew_rows import skew
from upshot_server.commands.waiting import wait_for
from upshot_server.feeds_command import feed
from upshot_server.hooks_command import hooks
from upshot_server.settings import DEFAULT_PORT

app = typer.Typer(
    name="upshot",
    help="Find out how every prediction turned out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
references = typer.Typer(help="What serving is compared with.", no_args_is_help=True)
app.add_typer(references, name="reference")
labels.command("feed")(feed)
app.command("check")(check)
app.command("multivariate")(multivariate)
app.add_typer(alerts, name="alerts")
app.add_typer(hooks, name="hooks")
app.add_typer(labels, name="labels")
app.add_typer(skew, name="skew")

_out = Console()
_err = Console(stderr=True)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version and end.", is_eager=True)] = False,
) -> None:
    """Find out how every prediction turned out."""
    if show:
        _out.print(__version__)
        raise typer.Exit


@app.command()
def up(
    data: Annotated[Path | None, typer.Option(help="Folder to keep everything in [default: upshot-data].")] = None,
    port: Annotated[int | None, typer.Option(help=f"Port to listen on [default: {DEFAULT_PORT}].")] = None,
    host: Annotated[str, typer.Option(help="Loopback address to listen on.")] = "127.0.0.1",
    config: Annotated[Path | None, typer.Option(help="YAML file with a `models:` section, applied at start.")] = None,
) -> None:
    """Run the embedded server: API, joins, monitoring and dashboard in one process."""
    from upshot_server.app import run  # loads the ClickHouse engine: only where it is needed
    from upshot_server.settings import from_environment

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = from_environment(data_dir=data, port=port, host=host, config_file=config, clickhouse="", cluster="")
    _out.print(f"Upshot {__version__}: dashboard and API on http://{settings.host}:{settings.port}/")
    _out.print(f"data in {settings.data_dir.absolute()}; Ctrl-C ends", soft_wrap=True)
    run(settings)


ClickHouse = Annotated[
    str | None,
    typer.Option(help="URL of the ClickHouse server; one per shard, separated by commas [UPSHOT_CLICKHOUSE_URL]."),
]
Cluster = Annotated[
    str | None, typer.Option(help="Name of the cluster in `remote_servers` [default: the one with these shards].")
]


@app.command()
def serve(
    clickhouse: ClickHouse = None,
    cluster: Cluster = None,
    kafka: Annotated[
        str | None,
        typer.Option(envvar="UPSHOT_KAFKA", help="Hand events to Kafka; workers (`upshot work`) store them."),
    ] = None,
    kafka_password: Annotated[
        str | None, typer.Option(envvar="UPSHOT_KAFKA_PASSWORD", help="For SASL; better as the variable.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder for exports and reports [default: upshot-data].")] = None,
    port: Annotated[int | None, typer.Option(help=f"Port to listen on [default: {DEFAULT_PORT}].")] = None,
    host: Annotated[str, typer.Option(help="Loopback address to listen on.")] = "127.0.0.1",
    config: Annotated[Path | None, typer.Option(help="YAML file with a `models:` section, applied at start.")] = None,
) -> None:
    """Run one of any number of servers over a ClickHouse server or cluster."""
    from upshot_server.app import run
    from upshot_server.settings import from_environment

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = from_environment(
        data_dir=data,
        port=port,
        host=host,
        config_file=config,
        clickhouse=clickhouse,
        cluster=cluster,
        kafka=kafka,
        kafka_password=kafka_password,
    )
    if not settings.clickhouse_urls:
        _fail("say where the store is: --clickhouse URL, or UPSHOT_CLICKHOUSE_URL (`upshot up` brings its own)")
    _out.print(f"Upshot {__version__}: dashboard and API on http://{settings.host}:{settings.port}/")
    run(settings)


@app.command()
def migrate(clickhouse: ClickHouse = None, cluster: Cluster = None, as_json: AsJson = False) -> None:
    """Make or bring up to date the tables on a ClickHouse server or cluster. Safe to run again, and by several at once."""
    from upshot_joiner.store.sharded import open_scaled_out
    from upshot_server.parts import SCHEMAS
    from upshot_server.settings import from_environment

    settings = from_environment(clickhouse=clickhouse, cluster=cluster)
    if not settings.clickhouse_urls:
        _fail("say where the store is: --clickhouse URL, or UPSHOT_CLICKHOUSE_URL (an embedded one migrates by itself)")
    store = open_scaled_out(settings.clickhouse_urls, settings.cluster)
    try:
        applied = [name for package in SCHEMAS for name in store.migrate(package)]
    finally:
        store.close()
    if as_json:
        print_json({"shards": len(settings.clickhouse_urls), "applied": applied})
    else:
        _out.print(f"{len(applied)} migrations applied on {len(settings.clickhouse_urls)} shards")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def demo(context: typer.Context) -> None:
    """Replay a year of real flights through the whole loop (`upshot demo --help` lists its options)."""
    from upshot_server.demo.command import main as run_demo  # needs scikit-learn and the flights

    raise typer.Exit(run_demo(context.args))


@app.command()
def work(
    clickhouse: Annotated[
        str,
        typer.Option(
            envvar="UPSHOT_CLICKHOUSE_URL", help="http(s)://USER:PASSWORD@HOST:PORT; one per shard, with commas."
        ),
    ],
    kafka: Annotated[
        str, typer.Option(envvar="UPSHOT_KAFKA", help="HOST:PORT[,HOST:PORT], or kafka://… with options.")
    ],
    password: Annotated[
        str, typer.Option(envvar="UPSHOT_KAFKA_PASSWORD", help="For SASL; better as the variable.", show_default=False)
    ] = "",
    group: Annotated[str, typer.Option(help="Consumer group that the workers share.")] = "upshot",
    health_port: Annotated[
        int | None, typer.Option(help="Port on 127.0.0.1 for /healthz, /readyz and /v1/status.")
    ] = None,
    max_refused: Annotated[
        int, typer.Option(min=1, help="A partition stops when more items than this are refused in a row.")
    ] = 1000,
    max_refused_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="It stops when more than this share of the last 5,000 items is.")
    ] = 0.5,
    session_timeout: Annotated[
        float, typer.Option(min=1, help="Seconds after which a silent worker is taken for dead.")
    ] = 45.0,
    cluster: Annotated[
        str, typer.Option(envvar="UPSHOT_CLICKHOUSE_CLUSTER", help="Name of the cluster in `remote_servers`.")
    ] = "",
) -> None:
    """Consume predictions and labels from Kafka into the store; run any number of these."""
    from upshot_joiner.intake.kafka.poison import PoisonLimit  # loads the driver: only where it is needed
    from upshot_joiner.worker import WorkerSettings
    from upshot_server.work import WorkOptions, kafka_address, run

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    limit = PoisonLimit(max_consecutive=max_refused, max_ratio=max_refused_share)
    settings = WorkerSettings(limit=limit)
    run(WorkOptions(clickhouse, kafka_address(kafka), password, group, session_timeout, health_port, settings, cluster))


@app.command()
def replay(
    source: Annotated[
        str, typer.Option("--from", help="quarantine (by the running server) or dead (the topic upshot.dead).")
    ] = "quarantine",
    code: Annotated[str, typer.Option(help="Only what was refused for this reason.")] = "",
    model: Annotated[str, typer.Option(help="Only events of this model.")] = "",
    kind: Annotated[str, typer.Option(help="Only this kind: prediction, label, writer.")] = "",
    start: Annotated[str | None, typer.Option(help="Refused at or after (RFC 3339 with offset).")] = None,
    end: Annotated[str | None, typer.Option(help="Refused before (RFC 3339 with offset).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    kafka: Annotated[
        str, typer.Option(envvar="UPSHOT_KAFKA", help="With --from dead: HOST:PORT[,HOST:PORT], or kafka://…")
    ] = "",
    password: Annotated[str, typer.Option(envvar="UPSHOT_KAFKA_PASSWORD", help="For SASL.", show_default=False)] = "",
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Send refused events through the intake again, after what made them be refused was mended."""
    from upshot_server.replaying import Choice, from_dead, from_quarantine

    if source not in ("quarantine", "dead"):
        _fail("--from must be quarantine or dead")
    if source == "dead" and not kafka:
        _fail("--from dead needs --kafka HOST:PORT, or UPSHOT_KAFKA")
    choice = Choice(code, model, kind, start, end)
    with Progress(console=_err, disable=as_json or not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("replaying", total=None)

        def show(done: int) -> None:
            progress.update(task, completed=done)

        if source == "dead":
            found = from_dead(kafka, password, choice, dry_run, show)
        else:
            with ServerClient(url) as server:
                found = from_quarantine(server, choice, dry_run, show)
    if as_json:
        print_json({**found, "from": source, "dry_run": dry_run})
        return
    taken = "sent" if source == "dead" else "replayed"
    _out.print(f"{found['found']:,} found, {found[taken]:,} {'would be ' if dry_run else ''}{taken}")
    for what in ("refused", "unfit"):
        for reason, count in sorted(found.get(what, {}).items()):
            _out.print(f"{what}: {count:,} {reason}", markup=False)


@app.command()
def export(
    model: Annotated[str, typer.Option(help="Name of the model.")],
    start: Annotated[str | None, typer.Option(help="Predictions made at or after (RFC 3339 with offset).")] = None,
    end: Annotated[str | None, typer.Option(help="Predictions made before (RFC 3339 with offset).")] = None,
    as_of: Annotated[str | None, typer.Option(help="Only what was known by then [default: now].")] = None,
    destination: Annotated[str | None, typer.Option(help="Folder below the server's export folder.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also where rows are censored: their label feed was silent.")
    ] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Make a training set and wait for it."""
    request: dict[str, Any] = {
        "model": model, "start": start, "end": end, "as_of": as_of, "destination": destination, "force": force or None,
    }  # fmt: skip
    with ServerClient(url) as server:
        job = server.post("/v1/exports", {name: value for name, value in request.items() if value is not None})
        found = wait_for(server, f"/v1/exports/{job['id']}", "exporting", quiet=as_json)
    if as_json:
        print_json(found)
    elif found["status"] == "done":
        manifest = found["manifest"]
        states = ", ".join(f"{count:,} {state}" for state, count in manifest["states"].items())
        _out.print(f"{manifest['rows']:,} rows ({states}) as of {manifest['as_of']}")
        _out.print(f"sha256 {manifest['sha256']}")
        _out.print(found["location"], soft_wrap=True)
    _fail_unless_done(found)


@app.command()
def report(
    model: Annotated[str, typer.Option(help="Name of the model.")],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Make an Evidently report of the newest window against the reference, and wait for it."""
    with ServerClient(url) as server:
        job = server.post(f"/v1/models/{model}/reports", {})
        found = wait_for(server, f"/v1/reports/{job['id']}", "reporting", quiet=as_json)
    if as_json:
        print_json(found)
    elif found["status"] == "done":
        _out.print(f"{url}/v1/reports/{job['id']}/html", soft_wrap=True)
    _fail_unless_done(found)


@app.command()
def verify(
    model: Annotated[str | None, typer.Option(help="Only this model's predictions and outcomes.")] = None,
    since: Annotated[str | None, typer.Option(help="Only where something came after (RFC 3339 with offset).")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Count again what is stored, repair what is wrong, and wait for it. Ends with 1 when something could not be repaired."""
    asked = {name: value for name, value in (("model", model), ("since", since)) if value is not None}
    with ServerClient(url) as server:
        round_ = server.post("/v1/verify", asked)
        found = wait_for(server, f"/v1/verify/{round_['id']}", "verifying", quiet=as_json)
    if as_json:
        print_json(found)
    elif found["status"] == "done":
        for what in ("predictions", "outcomes", "orphans"):
            counts = found[what]
            _out.print(
                f"{what}: {counts['checked']:,} looked at, {counts['wrong']:,} wrong, {counts['repaired']:,} repaired"
            )
    _fail_unless_done(found)
    if any(found[what]["wrong"] > found[what]["repaired"] for what in ("predictions", "outcomes", "orphans")):
        sys.exit(1)


@references.command("add")
def reference_add(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Parquet file of the training set.")],
    model: Annotated[str, typer.Option(help="Name of the model.")],
    model_version: Annotated[str | None, typer.Option(help="Version that was trained on it.")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Upload a training set as the reference that serving is compared with."""
    with ServerClient(url) as server:
        found = server.upload(f"/v1/models/{model}/references", file, {"model_version": model_version})
    if as_json:
        print_json(found)
    else:
        _out.print(f"reference {found['id']}: {found['rows']:,} rows")


def main() -> None:
    """Entry point: errors as one line on standard error, exit status 1."""
    try:
        app()
    except ServerRefused as error:
        _fail(str(error))
    except (Problem, StoreError, ConfigurationError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(error.strerror or str(error))


def _fail_unless_done(found: dict[str, Any]) -> None:
    if found["status"] != "done":
        _fail(found.get("error") or f"status: {found['status']}")


def _fail(message: str) -> None:
    _err.print(f"upshot: {message}", soft_wrap=True, markup=False)
    sys.exit(1)
