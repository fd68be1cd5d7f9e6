"""Which calls are taken when not all are: sampling, pruning under load, and what is redacted on the way."""

from __future__ import annotations

import statistics

import pytest

import upshot
from tests.logger.collector import Reply, balance, eventually
from upshot.capture.sampling import Sampler
from upshot.testing import capture


def test_a_sampled_request_is_in_or_out_as_a_whole():
    """Prediction, slate, label and another process decide alike; what is out has no number and is counted apart."""
    ids = [f"order-{i}" for i in range(2000)]
    with capture(model="m", sample_rate=0.25) as logged:
        for request_id in ids:
            upshot.log_prediction({"a": 1}, 0.5, request_id=request_id)
            upshot.log_slate([{"prediction": 1}, {"prediction": 2}], request_id=request_id, model="ranker")
            upshot.log_label(request_id, 1)
        predictions, labels, stats = logged.predictions, logged.labels, logged.stats
    kept = {request_id for request_id in ids if Sampler(0.25).keeps(request_id)}
    assert 400 < len(kept) < 600
    assert {event.request_id for event in predictions} == {event.request_id for event in labels} == kept
    assert len(predictions) == 3 * len(kept)
    assert {event.keep_probability for event in predictions} == {0.25}
    assert sorted(event.seq for event in (*predictions, *labels)) == list(range(4 * len(kept)))
    assert stats["accepted"] == 4 * len(kept)
    assert stats["sampled_out"] == 3 * (len(ids) - len(kept))


def test_a_rate_of_one_writes_no_probability(collector, logger):
    """And costs no look at the request ID."""
    logger.log_prediction({}, 0)
    assert logger.flush(5)
    assert collector.predictions[0].keep_probability == 1.0


def test_a_filling_queue_is_pruned_and_the_weights_undo_it(collector):
    """The queue takes far more requests than it holds; counted with its weights, each still stands for those left out."""
    collector.always = Reply(503)
    n = 3000
    with upshot.Logger(
        url=collector.url, model="m", on_full="prune", queue_max_events=2000, flush_interval_s=0.02, spool=False
    ) as logger:
        logger.log_prediction({}, 0, request_id="first")
        eventually(lambda: collector.requests)
        for i in range(n):
            logger.log_prediction({"value": float(i % 100)}, 0, request_id=f"r{i}")
        stats = logger.stats()
        assert stats["pruned"] > 500
        assert stats["dropped"] == 0
        assert balance(stats) == 0
        collector.always = Reply()
        assert logger.flush(30)
    events = [event for event in collector.predictions if event.request_id != "first"]
    assert {event.keep_probability for event in events} >= {1.0, 0.5, 0.25}
    weights = [1 / event.keep_probability for event in events]
    assert len(events) + stats["pruned"] == n
    # The number of requests of each level is a binomial draw: three standard errors of the weighted sum.
    error = sum(w * (w - 1) for w in weights) ** 0.5
    assert abs(sum(weights) - n) < 3 * error
    mean = sum(w * event.features["value"] for w, event in zip(weights, events, strict=True)) / sum(weights)
    assert abs(mean - 49.5) < 3 * statistics.pstdev(range(100)) * error / n + 1.5


def test_labels_are_never_pruned(collector):
    """A prediction stands for others; a label stands for itself."""
    collector.always = Reply(503)
    with upshot.Logger(
        url=collector.url, model="m", on_full="prune", queue_max_events=100, flush_interval_s=0.02, spool=False
    ) as logger:
        for i in range(90):
            logger.log_label(f"r{i}", 1)
        stats = logger.stats()
        assert (stats["accepted"], stats["pruned"], stats["dropped"]) == (90, 0, 0)
        collector.always = Reply()
        assert logger.flush(30)


def test_redaction_works_the_same_on_the_short_and_the_long_way():
    """A call with tags takes the long way; rules and flags are the same."""
    rules = {"drop": ["password"], "hash": ["user"], "mask": ["~email"]}
    features = {"password": "hunter2", "user": 17, "note": "write to a@b.example", "amount": 1.5}
    with capture(model="m", redact=rules, redact_key="0123456789abcdef") as logged:
        upshot.log_prediction(features, 0.5)
        upshot.log_prediction(features, 0.5, tags={"channel": "web"})
        short, long = logged.predictions
        assert logged.stats["redacted"] == 6
    assert short.features == long.features
    assert (
        short.flags == long.flags == dict.fromkeys(("features.password", "features.user", "features.note"), "redacted")
    )
    assert "password" not in short.features
    assert short.features["note"] == "write to ***"
    assert short.features["amount"] == 1.5


def test_nothing_secret_is_in_the_spool(spool_dir):
    """Neither as it was nor compressed: redaction happens before anything is written."""
    import zstandard

    canary = "canary-5f2b9c7e"
    with upshot.Logger(url="http://127.0.0.1:9", model="m", redact={"drop": ["secret"], "mask": ["~email"]}) as logger:
        logger.log_prediction({"secret": canary, "nested": {"secret": canary}, "a": f"{canary}@b.example"}, 0)
        logger.log_prediction({"secret": canary}, 0, inputs={"secret": canary}, tags={"secret": canary})
        assert logger.flush(5, to="disk")
        (path,) = spool_dir.rglob("predictions*.seg")
        data = path.read_bytes()
    assert canary.encode() not in data
    frames = data.split(b"\x28\xb5\x2f\xfd")[1:]
    assert frames
    for frame in frames:
        body = zstandard.ZstdDecompressor().decompressobj().decompress(b"\x28\xb5\x2f\xfd" + frame)
        assert canary.encode() not in body


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_rate": 1.5}, "sample_rate"),
        ({"sample_rate": 0}, "sample_rate"),
        ({"redact": "burn:password"}, "redact"),
        ({"redact": {"hash": ["user"]}}, "redact_key"),
        ({"redact": {"mask": ["~nonsense"]}}, "redact"),
        ({"spool": "maybe"}, "spool"),
    ],
)
def test_a_wrong_rule_is_refused_when_it_is_configured(options, message):
    """Not at the first event, by a service that runs."""
    with pytest.raises(upshot.ConfigurationError, match=message):
        upshot.Logger(**options)


def test_a_slate_is_taken_or_dropped_as_a_whole(collector):
    """Half a list would be a wrong list."""
    collector.always = Reply(503)
    with upshot.Logger(url=collector.url, model="m", queue_max_events=10, flush_interval_s=60, spool=False) as logger:
        logger.log_slate([{"prediction": i} for i in range(8)], request_id="fits")
        logger.log_slate([{"prediction": i} for i in range(3)], request_id="too many")
        logger.log_slate([{"prediction": i} for i in range(2)], request_id="fits too")
        stats = logger.stats()
        assert (stats["accepted"], stats["dropped_full"]) == (13, 3)
        assert balance(stats) == 0
        collector.always = Reply()
        assert logger.flush(30)
    assert {event.request_id for event in collector.predictions} == {"fits", "fits too"}


def test_what_was_shown_later_is_said_by_a_label_named_shown(collector, logger):
    """The wire has no other way to change what was logged."""
    request_id = logger.log_prediction({}, 0.5, shown=False)
    logger.log_shown(request_id)
    assert logger.flush(5)
    (event,) = collector.labels
    assert (event.request_id, event.name, event.op, event.value) == (request_id, "shown", "set", True)
    assert collector.predictions[0].shown is False


def test_the_books_are_sent_at_the_end(collector):
    """What was logged, what became of it, and that nothing more will come."""
    with upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02, event_max_bytes=500) as logger:
        logger.log_prediction({}, 0)
        logger.log_prediction({"text": "x" * 1000}, 0)
    (report,) = collector.reports
    assert report.is_last
    assert report.next_seq == 2
    assert (report.counters["stored"], report.counters["dropped_too_large"]) == (1, 1)
    assert {event.writer_id for event in collector.predictions} == {report.writer_id}
