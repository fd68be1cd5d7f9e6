"""Where settings come from, and which are refused."""

from __future__ import annotations

import pytest

import upshot
from tests.logger.collector import balance
from upshot.settings import Options, Settings


def test_an_argument_wins_over_its_variable_which_wins_over_the_default():
    """Blanks around a variable are a mistake of a file, not of a person."""
    environ = {"UPSHOT_MODEL": " from-environment ", "UPSHOT_FLUSH_INTERVAL_S": "0.5", "UPSHOT_API_KEY": ""}
    settings = Settings.read({"flush_interval_s": 2, "model_version": None}, environ)
    assert (settings.model, settings.flush_interval_s, settings.url) == (
        "from-environment",
        2.0,
        "http://127.0.0.1:8750",
    )
    assert (settings.api_key, settings.model_version) == ("", "")


def test_every_setting_is_an_option_with_the_same_name():
    """Options exists for type checkers; Settings is what counts."""
    assert list(Options.__annotations__) == list(Settings.__dataclass_fields__)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "kafka://"}, "url must name its brokers"),
        ({"url": "127.0.0.1:8750"}, "url must be"),
        ({"url": "ftp://host"}, "url must be"),
        ({"url": "http://"}, "url must be"),
        ({"url": "http://a..b"}, "url: its host"),
        ({"url": f"http://{'a' * 64}.example"}, "url: its host"),
        ({"url": "http://host:99999"}, "url is not an address"),
        ({"url": "http://user:secret@host"}, "use api_key"),
        ({"url": "http://host/?a=secret"}, "plain address"),
        ({"url": "http://ho st"}, "plain address"),
        ({"url": 5}, "url must be text"),
        ({"api_key": "secret\r\nX-Other: 1"}, "api_key must"),
        ({"api_key": "sécret"}, "api_key must"),
        ({"flush_interval_s": 0}, "flush_interval_s must be a number above 0"),
        ({"flush_interval_s": float("nan")}, "flush_interval_s"),
        ({"queue_max_events": -1}, "queue_max_events"),
        ({"queue_max_events": 1.5}, "queue_max_events must be a whole number"),
        ({"queue_max_events": "many"}, "queue_max_events"),
        ({"on_full": "explode"}, "on_full must be 'drop', 'block' or 'prune'"),
        ({"no_such": 1}, "unknown option 'no_such'"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused_by_name_and_without_its_value(options, said):
    """At configure() and Logger(), the only places where the SDK raises."""
    with pytest.raises(upshot.ConfigurationError, match=said.replace("(", r"\(")) as raised:
        upshot.Logger(**options)
    assert "secret" not in str(raised.value)
    with pytest.raises(upshot.ConfigurationError):
        upshot.configure(**options)


def test_a_key_is_not_in_the_repr():
    """Settings end up in tracebacks and logs."""
    assert "secret" not in repr(Settings.read({"api_key": "secret"}, {}))


def test_variables_configure_a_logger(monkeypatch, collector):
    """As a deployment does it."""
    monkeypatch.setenv("UPSHOT_URL", collector.url)
    monkeypatch.setenv("UPSHOT_MODEL", "m")
    monkeypatch.setenv("UPSHOT_MODEL_VERSION", "7")
    monkeypatch.setenv("UPSHOT_API_KEY", "k")
    with upshot.Logger() as logger:
        logger.log_prediction({}, 0)
        assert logger.flush(10)
    (event,) = collector.predictions
    assert (event.model, event.model_version) == ("m", "7")
    assert collector.requests[0].headers["authorization"] == "Bearer k"


def test_a_wrong_variable_found_at_the_first_call_stops_logging_and_not_the_service(monkeypatch, caplog):
    """Nobody called configure(), so nobody can catch: one clear warning, and everything is counted."""
    monkeypatch.setenv("UPSHOT_URL", "nonsense")
    logger = upshot.Logger.unconfigured()
    assert len(logger.log_prediction({}, 0)) == 36
    logger.log_label("r", 1)
    assert logger.flush(1)
    stats = logger.stats()
    assert stats["dropped_misconfigured"] == 2
    assert balance(stats) == 0
    assert caplog.text.count("UPSHOT_URL must be") == 1


def test_configuring_again_sends_the_rest_to_where_it_was_meant_to_go(collector):
    """Events of before go out under the former settings; the counters add up."""
    logger = upshot.Logger(url=collector.url, model="first", flush_interval_s=60)
    logger.log_prediction({}, 0)
    logger.reconfigure(url=collector.url, model="second")
    logger.log_prediction({}, 0)
    assert logger.flush(10)
    assert sorted(event.model for event in collector.predictions) == ["first", "second"]
    assert logger.stats()["stored"] == 2
    logger.close()
