"""Pairing and mapping of KServe's events, without a server: every order, faults between any two writes, and bodies of all kinds."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.joiner.conftest import NOW, Line
from tests.waiting import eventually
from upshot.wire import Prediction
from upshot_joiner.errors import Problem, StoreError
from upshot_joiner.intake.batch import Answer
from upshot_joiner.intake.check import NotAccepted
from upshot_joiner.intake.kserve.cloudevent import CloudEvent, Decoded
from upshot_joiner.intake.kserve.inference import Half, half_of, predictions_of
from upshot_joiner.intake.kserve.naming import Naming
from upshot_joiner.intake.kserve.pairing import Pairing, Waiting
from upshot_joiner.intake.receive import Receiver

WHO = {"namespace": "shop", "component": "predictor", "endpoint": "default"}


def cloud_event(side: str, id_: str, body: Any, model: str = "m", **extensions: str) -> CloudEvent:
    known = {**WHO, "inferenceservicename": model, **extensions}
    kind = f"org.kubeflow.serving.inference.{side}"
    return CloudEvent(id_, "http://pod/", kind, "2026-01-02T03:04:05Z", known, json.dumps(body).encode())


def tell(pairing: Pairing, *events: CloudEvent) -> Answer:
    return pairing.submit(Decoded("", events=list(enumerate(events)))).result(30)


def insist(pairing: Pairing, *events: CloudEvent) -> None:
    """Send until it is stored, as a broker does."""
    for _ in range(20):
        try:
            tell(pairing, *events)
        except Problem as problem:
            if problem.status != 503:
                raise
        else:
            return
    pytest.fail("never stored")


def stored(line: Line, model: str) -> list[tuple[str, str, float, float]]:
    table = line.served.table(model)
    if table is None:
        return []
    column = line.served.columns(model)["x0"]["int"]
    return [
        tuple(row)  # type: ignore[misc]
        for row in line.store.query(
            f"SELECT request_id, item_id, prediction_number, {column} FROM {table} FINAL ORDER BY request_id, item_id"
        )
    ]


class Faults:
    """Makes chosen calls of a pairing fail, before or after they have done their work."""

    def __init__(self, pairing: Pairing, plan: list[tuple[str, bool]]) -> None:
        self._plan = plan
        self._lock = threading.Lock()
        for owner, name in ((pairing._halves, "add"), (pairing._halves, "settle"), (pairing._halves, "of_pairs")):
            setattr(owner, name, self._faulty(name, getattr(owner, name)))

    def _faulty(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            with self._lock:
                fault = next((one for one in self._plan if one[0] == name), None)
                if fault is not None:
                    self._plan.remove(fault)
            if fault is not None and not fault[1]:
                raise StoreError("scripted")
            done = work(*args)
            if fault is not None:
                raise StoreError("scripted, after it was done")
            return done

        return run


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_order_repetition_and_fault_gives_the_same_predictions(line: Line, data: st.DataObject) -> None:
    """Also when a write fails between two others, and when the pairing is made anew in the middle."""
    name = f"t{uuid.uuid4()}"  # of each example, also of one that is tried again
    model = f"shop/{name}"
    right, events = [], []
    for number in range(data.draw(st.integers(1, 4))):
        values = data.draw(st.lists(st.integers(0, 99), min_size=1, max_size=3))
        events += [
            cloud_event("request", f"{name}-{number}", {"instances": [[value] for value in values]}, name),
            cloud_event("response", f"{name}-{number}", {"predictions": [value / 2 for value in values]}, name),
        ]
        right += [
            (f"{name}-{number}", str(row) if len(values) > 1 else "", value / 2, value)
            for row, value in enumerate(values)
        ]
    order = data.draw(st.permutations(events + data.draw(st.lists(st.sampled_from(events), max_size=4))))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=4)))
    faults = st.lists(st.tuples(st.sampled_from(["add", "settle", "of_pairs"]), st.booleans()), max_size=3)
    # All is drawn before anything is done: an example that hypothesis gives up while it draws leaves no half behind.
    first = data.draw(faults)
    restarts = [data.draw(st.none() | faults) for _ in range(len(cuts) + 1)]
    pairing = Pairing(line.store, Receiver(line.committer), line.committer, line.clock)
    Faults(pairing, first)
    pairing.start()
    try:
        for start, end, restart in zip([0, *cuts], [*cuts, len(order)], restarts, strict=True):
            if start < end:
                insist(pairing, *order[start:end])
            if restart is not None:
                pairing.close()
                pairing = Pairing(line.store, Receiver(line.committer), line.committer, line.clock)
                Faults(pairing, restart)
                pairing.start()
        assert stored(line, model) == sorted(right)
        assert not [half for half in pairing.state()["halves"] if half["service"] == name]
    finally:
        pairing.close()


def test_a_pair_that_a_crash_left_complete_is_made_at_the_next_start(line: Line, fresh: str) -> None:
    """Nobody sends anything again: both halves were answered, or the sender has died, too."""
    pairing = Pairing(line.store, Receiver(line.committer), line.committer, line.clock)
    Faults(pairing, [("of_pairs", False)])
    pairing.start()
    tell(pairing, cloud_event("request", fresh, {"instances": [[7]]}, fresh))
    with pytest.raises(Problem, match="does not take writes"):
        tell(pairing, cloud_event("response", fresh, {"predictions": [1]}, fresh))
    pairing.close()
    assert stored(line, f"shop/{fresh}") == []
    again = Pairing(line.store, Receiver(line.committer), line.committer, line.clock)
    again.start()
    eventually(lambda: stored(line, f"shop/{fresh}") == [(fresh, "", 1.0, 7)], 20)
    again.close()


def test_what_waits_in_vain_goes_to_quarantine_after_its_time_and_is_forgotten_at_last(line: Line, fresh: str) -> None:
    """Not before, also across a restart; and no row of it is left when it is forgotten, an earlier one neither."""
    rules = Waiting(wait=timedelta(hours=2), remember=timedelta(hours=3))
    pairing = Pairing(line.store, Receiver(line.committer), line.committer, line.clock, waiting=rules)
    pairing.start()
    tell(pairing, cloud_event("response", fresh, {"predictions": [1]}, fresh))
    pairing.close()

    def swept(after: timedelta) -> list[tuple[Any, ...]]:
        one = Pairing(line.store, Receiver(line.committer), line.committer, line.clock, waiting=rules)
        line.clock.set(NOW + after)
        one._sweep()
        return line.store.query(
            "SELECT toString(code), loc, model FROM quarantine WHERE request_id = {r:String}", {"r": fresh}
        )

    def rows() -> int:
        [(count,)] = line.store.query("SELECT count() FROM inference_halves WHERE event_id = {r:String}", {"r": fresh})
        return int(count)

    assert swept(timedelta(hours=1, minutes=59)) == []
    assert swept(timedelta(hours=2)) == [("unpaired", "request", f"shop/{fresh}")]
    assert swept(timedelta(hours=4, minutes=59)) == [("unpaired", "request", f"shop/{fresh}")]
    assert rows() > 0
    swept(timedelta(hours=6))
    line.clock.set(NOW)
    assert rows() == 0


def test_what_waits_in_vain_is_given_up_while_others_keep_coming(line: Line, fresh: str) -> None:
    """A busy server looks through what waits, too."""
    pairing = Pairing(line.store, Receiver(line.committer), line.committer, line.clock)
    pairing.start()
    tell(pairing, cloud_event("request", fresh, {"instances": [[1]]}, fresh))
    line.clock.set(NOW + timedelta(hours=2))
    sent = 0

    def given_up() -> bool:
        nonlocal sent
        sent += 1
        other = f"{fresh}-{sent}"
        tell(pairing, cloud_event("request", other, {"instances": [[1]]}, fresh))
        tell(pairing, cloud_event("response", other, {"predictions": [1]}, fresh))
        return fresh not in [half["id"] for half in pairing.state()["halves"]]

    eventually(given_up, 30, every_s=0)
    pairing.close()
    line.clock.set(NOW)


def test_a_body_that_cannot_be_read_holds_up_no_other(line: Line, fresh: str) -> None:
    """Damaged, too deep, or beyond what we foresaw: its pair is refused once, the next one is made."""
    pairing = Pairing(line.store, Receiver(line.committer), line.committer, line.clock)
    pairing.start()
    odd = [
        (b"\x1f\x8bnot gzip", "corrupt_body"),
        (b'{"instances": ' + b"[" * 3000 + b"]" * 3000 + b"}", "too_deep"),
        (b'{"instances": [["\\ud800"]]}', "invalid_unicode"),
        (b'{"instances": [[1]]}', "unsupported_value"),
    ]
    for number, (body, code) in enumerate(odd):
        name = f"{fresh}-{number}"
        good = cloud_event("request", name, {}, fresh)
        tell(pairing, CloudEvent(good.id, good.source, good.type, good.time, good.extensions, body))
        # No number that JSON can write is beyond what a float holds but this.
        answer = tell(pairing, cloud_event("response", name, {"predictions": [[10**400, 1]]}, fresh))
        assert [place["code"] for place in answer.errors] == [code]
        assert (answer.accepted, answer.rejected) == (0, 1)
    tell(pairing, cloud_event("request", fresh, {"instances": [[3]]}, fresh))
    assert tell(pairing, cloud_event("response", fresh, {"predictions": [2]}, fresh)).accepted == 1
    pairing.close()
    assert stored(line, f"shop/{fresh}") == [(fresh, "", 2.0, 3)]


def test_the_oldest_make_room_when_too_many_wait(line: Line, fresh: str) -> None:
    """A logger that sends requests only cannot fill the disk with what waits."""
    for kept in Pairing(line.store, Receiver(line.committer), line.committer, line.clock).state(1000)["halves"]:
        pytest.fail(f"another test left {kept}")
    pairing = Pairing(line.store, Receiver(line.committer), line.committer, line.clock, waiting=Waiting(most=3))
    for number in range(5):
        line.clock.set(NOW + timedelta(seconds=number))
        pairing._pair([_batch(cloud_event("request", f"{fresh}-{number}", {"instances": [[number]]}, fresh))])
    pairing._sweep()
    assert [half["id"] for half in pairing.state()["halves"]] == [f"{fresh}-{number}" for number in (2, 3, 4)]
    line.clock.set(NOW + timedelta(hours=2))
    pairing._sweep()
    line.clock.set(NOW)
    assert pairing.state()["waiting"]["requests"] == 0


def test_too_much_at_once_is_told_to_come_again(line: Line, fresh: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is not a store: 503 with the time to wait, and nothing of it was taken."""
    monkeypatch.setattr("upshot_joiner.intake.kserve.pairing.MAX_QUEUED_BYTES", 50)
    pairing = Pairing(line.store, Receiver(line.committer), line.committer, line.clock)
    first = pairing.submit(Decoded("", events=[(0, cloud_event("request", fresh, {"instances": [[1] * 50]}, fresh))]))
    with pytest.raises(Problem) as refused:
        pairing.submit(Decoded("", events=[(0, cloud_event("response", fresh, {"predictions": [1]}, fresh))]))
    assert (refused.value.status, refused.value.code, refused.value.retry_after_s) == (503, "overloaded", 1)
    pairing.start()
    assert first.result(30).accepted == 1
    tell(pairing, cloud_event("response", fresh, {"predictions": [1]}, fresh))
    pairing.close()


# -- what a pair says --------------------------------------------------------------------------------------------------


def half(side: str, body: Any, **extensions: str) -> Half:
    return half_of(cloud_event(side, "event-1", body, **extensions), "")


def of(request: Any, response: Any, naming: Naming | None = None, **extensions: str) -> list[Prediction]:
    return predictions_of(half("request", request, **extensions), half("response", response), naming or Naming())


def test_rows_of_a_request_become_features() -> None:
    """Lists by position, objects by name, columns by row, single values; an image stays one value."""
    nothing = {"predictions": [0]}
    assert of({"instances": [[1, None, "a"]]}, nothing)[0].features == {"x0": 1, "x1": None, "x2": "a"}
    assert of({"instances": [{"age": 3, "b": [1, 2]}]}, nothing)[0].features == {"age": 3, "b": [1, 2]}
    assert of({"inputs": ["a text"]}, nothing)[0].features == {"x0": "a text"}
    assert of({"inputs": [[1, 2]]}, nothing)[0].features == {"x0": 1, "x1": 2}
    assert of({"instances": [[[1, 2], [3, 4]]]}, nothing)[0].features == {"x": [[1, 2], [3, 4]]}
    assert of({"instances": [[0.5] * 2000]}, nothing)[0].features == {"x": [0.5] * 2000}
    by_column = of({"inputs": {"age": [3, 4], "name": ["x", "y"]}}, {"outputs": {"p": [0.1, 0.2]}})
    assert [one.features for one in by_column] == [{"age": 3, "name": "x"}, {"age": 4, "name": "y"}]
    assert [(one.item_id, one.prediction) for one in by_column] == [("0", 0.1), ("1", 0.2)]
    image = {"inputs": [{"name": "image", "shape": [1, 2, 2], "datatype": "UINT8", "data": [[[1, 2], [3, 4]]]}]}
    assert of(image, nothing)[0].features == {"image": [1, 2, 3, 4]}
    wide = {"inputs": [{"name": "e", "shape": [1, 2000], "datatype": "FP32", "data": [0] * 2000}]}
    assert of(wide, nothing)[0].features == {"e": [0.0] * 2000}


@pytest.mark.parametrize(
    ("row", "prediction", "probabilities", "tags"),
    [
        (0.93, 0.93, None, None),
        ([0.93], 0.93, None, None),
        (None, None, None, None),
        ("cat", "cat", None, None),
        ([0.1, 0.9], 1, {"0": 0.1, "1": 0.9}, None),
        ([0.5, 0.5], 0, {"0": 0.5, "1": 0.5}, None),
        ([[0.1, 0.9]], 1, {"0": 0.1, "1": 0.9}, None),
        ({"cat": 0.25, "dog": 0.75}, "dog", {"cat": 0.25, "dog": 0.75}, None),
        # Several outputs of a regression are no probabilities, and the largest is not what was predicted.
        ([12.5, -3.0], None, {"0": 12.5, "1": -3.0}, None),
        ({"label": "cat", "score": 0.9}, "cat", None, {"output.score": "0.9"}),
        ({"classes": 1, "probabilities": [0.2, 0.8]}, 1, {"0": 0.2, "1": 0.8}, None),
    ],
)
def test_a_row_of_the_answer_becomes_a_prediction(
    row: Any, prediction: Any, probabilities: Any, tags: dict[str, str] | None
) -> None:
    """A value, probabilities by class index or name, or named outputs, of which the first single value is the prediction."""
    [made] = of({"instances": [[1]]}, {"predictions": [row]})
    assert (made.prediction, made.probabilities, made.tags) == (prediction, probabilities, tags)
    assert type(made.prediction) is type(prediction)


def test_outputs_of_a_v2_response_are_told_apart() -> None:
    """The first with one value per row is the prediction, the first with several holds the probabilities, the rest are tags."""
    outputs = [
        {"name": "probabilities", "shape": [2, 2], "datatype": "FP32", "data": [0.75, 0.25, 0.5, 0.5]},
        {"name": "label", "shape": [2, 1], "datatype": "BYTES", "data": ["no", "yes"]},
        {"name": "node", "shape": [2], "datatype": "INT32", "data": [7, 8]},
    ]
    made = of({"instances": [[1], [2]]}, {"outputs": outputs, "model_version": 4})
    assert [(one.prediction, one.probabilities, one.tags, one.model_version) for one in made] == [
        ("no", {"0": 0.75, "1": 0.25}, {"output.node": "7"}, "4"),
        ("yes", {"0": 0.5, "1": 0.5}, {"output.node": "8"}, "4"),
    ]


@pytest.mark.parametrize(
    ("tensor", "code", "loc"),
    [
        ({"shape": [3], "data": [1, 2]}, "shape_mismatch", "data"),
        ({"shape": [2], "data": [1, "a"]}, "wrong_type", "data[1]"),
        ({"shape": [2], "data": [1, True]}, "wrong_type", "data[1]"),
        ({"shape": [2], "data": [1, 10**400]}, "out_of_range", "data[1]"),
        ({"shape": "2", "data": [1, 2]}, "wrong_type", "shape"),
        ({"shape": [-2], "data": [1, 2]}, "wrong_type", "shape"),
        ({"shape": [2], "data": [1, 2], "datatype": "FP8"}, "not_allowed", "datatype"),
        ({"shape": [2]}, "missing", "data"),
        ({"shape": [0], "data": []}, "empty", "data"),
        ({"shape": [1], "data": [1]}, "row_count_mismatch", "shape"),
    ],
)
def test_a_tensor_that_is_none_is_named(tensor: dict[str, Any], code: str, loc: str) -> None:
    """By its place, never by its value."""
    good = {"name": "a", "shape": [2], "datatype": "FP32", "data": [1, 2]}
    odd = {"name": "b", "datatype": "FP32", **tensor}
    with pytest.raises(NotAccepted) as refused:
        of({"inputs": [good, odd]}, {"predictions": [1, 2]})
    assert (refused.value.code, refused.value.loc) == (code, f"request.inputs[1].{loc}")
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    assert of({"inputs": [{**good, "shape": [1], "data": deep}]}, {"predictions": [1]})[0].features == {"a": 1.0}


def test_names_are_as_configured() -> None:
    """Model and request ID; a component other than the predictor is a model of its own."""
    v2 = {"id": "of-body", "inputs": [{"name": "a", "shape": [1], "datatype": "FP32", "data": [1]}]}
    answer = {"predictions": [1], "id": "of-server"}
    metadata = '{"X-Request-Id": ["of-header"]}'

    def named(naming: Naming, **extensions: str) -> tuple[str, str]:
        [made] = of(v2, answer, naming, **extensions)
        return made.model, made.request_id

    assert named(Naming()) == ("shop/m", "of-body")
    assert named(Naming(request_id="ce-id"), component="transformer") == ("shop/m/transformer", "event-1")
    by_header = Naming("{service}", "header:x-request-id")
    assert named(by_header, metadata=metadata) == ("m", "of-header")
    assert named(by_header) == ("m", "event-1")
    assert named(Naming("{component}-{service}-{endpoint}"), endpoint="canary") == ("predictor-m-canary", "of-body")
    [made] = of(v2, answer, metadata=metadata, annotations='{"team": "risk"}', endpoint="canary")
    assert made.model_version == "canary"
    assert made.tags == {
        "ce_id": "event-1", "inference_id": "of-server", "header.x-request-id": "of-header", "annotation.team": "risk",
    }  # fmt: skip


def test_halves_of_different_servers_are_no_pair() -> None:
    """One ID may come by several components and pods: a request that a transformer hands on keeps its ce-id."""
    pairs = {
        half("request", {"instances": [[1]]}).pair,
        half("request", {"instances": [[1]]}, component="transformer").pair,
        half("request", {"instances": [[1]]}, namespace="other").pair,
        half_of(CloudEvent("event-1", "http://pod-2/", "org.kubeflow.serving.inference.request", "", {
            **WHO, "inferenceservicename": "m"}, b"{}"), "").pair,
    }  # fmt: skip
    assert len(pairs) == 4
    assert half("request", {"instances": [[1]]}).pair == half("response", {"predictions": [1]}).pair


def _batch(event: CloudEvent) -> Any:
    from upshot_joiner.intake.kserve.pairing import _Batch

    return _Batch([(0, half_of(event, ""))], [])
