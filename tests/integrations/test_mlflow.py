"""`upshot.integrations.mlflow` with models that MLflow has saved, registered, loaded and served."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import upshot
from tests.integrations.mlflow_models import Doubled, Returned, mlflow, upshot_mlflow
from tests.ports import free_port
from tests.waiting import eventually

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, of which there are many

ROWS = pd.DataFrame({"amount": [12.5, 900.0, 3.0], "country": ["DE", "US", "DE"], "n": [1, 2, 3]})


def estimator() -> LogisticRegression:
    return LogisticRegression().fit(ROWS[["amount", "n"]], [0, 1, 0])


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Version 1 of the registered model ``fraud`` answers twice the amount, version 2 thrice; 1 is the champion."""
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"file://{folder}/runs"
    patch = pytest.MonkeyPatch()
    patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    patch.chdir(folder)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    for name, factor, wrap in (
        ("fraud", "2", lambda m: m),
        ("fraud", "3", lambda m: m),
        ("served", "2", upshot_mlflow.LoggedPythonModel),
    ):
        (folder / "factor").write_text(factor)
        with mlflow.start_run():
            mlflow.pyfunc.log_model(
                name="model",
                python_model=wrap(Doubled()),
                artifacts={"factor": str(folder / "factor")},
                registered_model_name=name,
                pip_requirements=["mlflow-skinny"],
            )
    mlflow.MlflowClient().set_registered_model_alias("fraud", "champion", "1")
    yield uri
    patch.undo()


def logged_by(logger: upshot.Logger, collector: Any) -> list[Any]:
    assert logger.flush(10)
    return collector.predictions


@pytest.mark.parametrize(
    ("uri", "version", "factor"),
    [
        ("models:/fraud/1", "1", 2),
        ("models:/fraud/2", "2", 3),
        ("models:/fraud@champion", "1", 2),
        ("models:/fraud/latest", "2", 3),
    ],
)
def test_a_registered_model_logs_its_rows_with_name_and_version(registry, logger, collector, uri, version, factor):
    model = upshot_mlflow.load_model(uri, logger=logger)
    answer = model.predict(ROWS)
    assert answer.tolist() == (ROWS["amount"] * factor).tolist()
    events = logged_by(logger, collector)
    assert [(p.model, p.model_version, p.prediction) for p in events] == [("fraud", version, one) for one in answer]
    assert [p.features for p in events] == ROWS.to_dict("records")


def test_a_model_that_was_loaded_already(registry, logger, collector):
    """Without a URI the version is MLflow's ID of the logged model, and the name that of the configuration."""
    loaded = mlflow.pyfunc.load_model("models:/fraud/1")
    for model in (
        upshot_mlflow.log_pyfunc(loaded, logger=logger),
        upshot_mlflow.log_pyfunc(loaded, model_uri="models:/fraud/1", logger=logger),
        upshot_mlflow.log_pyfunc(loaded, model="mine", model_version="9", logger=logger),
    ):
        assert model.predict(ROWS[:1]).tolist() == [25.0]
        assert model.metadata is loaded.metadata
    events = logged_by(logger, collector)
    assert [(p.model, p.model_version) for p in events] == [("m", loaded.model_id), ("fraud", "1"), ("mine", "9")]
    assert loaded.model_id.startswith("m-")


def test_params_and_request_ids_reach_their_places(registry, logger, collector):
    model = upshot_mlflow.load_model("models:/fraud/1", logger=logger)
    assert model.predict(ROWS[:1], request_ids=["r"]).tolist() == [25.0]
    assert model._loaded.unwrap_python_model().predict(None, ROWS[:1], {"offset": 1}).tolist() == [26.0]
    with upshot_mlflow.collect_request_ids() as ids:
        model.predict(ROWS)
    assert [p.request_id for p in logged_by(logger, collector)] == ["r", *ids]


def test_mlflows_errors_are_its_own(registry, logger, collector):
    with pytest.raises(mlflow.exceptions.MlflowException):
        upshot_mlflow.load_model("models:/fraud/77", logger=logger)
    with pytest.raises(mlflow.exceptions.MlflowException):
        upshot_mlflow.load_model("models:/nobody@champion", logger=logger)
    with pytest.raises(KeyError):
        upshot_mlflow.load_model("models:/fraud/1", logger=logger).predict(ROWS[["n"]])
    assert logged_by(logger, collector) == []


PROBABILITIES = np.array([[0.25, 0.75], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("answer", "classes", "logged"),
    [
        ([1, 2], None, [("", 1), ("", 2)]),
        (np.array([[1.5], [2.5]]), None, [("", 1.5), ("", 2.5)]),
        (pd.Series(["a", "b"]), None, [("", "a"), ("", "b")]),
        (pd.DataFrame({"risk": [1, 2]}), None, [("", 1), ("", 2)]),
        (pd.DataFrame({"risk": [1, 2], "cost": [3, 4]}), None, [("risk", 1), ("cost", 3), ("risk", 2), ("cost", 4)]),
        (PROBABILITIES, ["ok", "bad"], [("", "bad"), ("", "ok")]),
        (PROBABILITIES, None, [("0", 0.25), ("1", 0.75), ("0", 1.0), ("1", 0.0)]),
        ([{"ok": 0.25, "bad": 0.75}, {"ok": 1.0, "bad": 0.0}], None, [("", "bad"), ("", "ok")]),
        ({"risk": np.array([1, 2])}, None, [("", 1), ("", 2)]),
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    "data", [ROWS[["n"]][:2], ROWS[["n"]][:2].to_numpy(), {"n": np.array([1, 2])}, [{"n": 1}, {"n": 2}]], ids=type
)
def test_every_form_of_input_and_answer(registry, tmp_path, logger, collector, answer, classes, logged, data):
    mlflow.pyfunc.save_model(tmp_path / "model", python_model=Returned(answer), pip_requirements=["mlflow-skinny"])
    model = upshot_mlflow.load_model(str(tmp_path / "model"), model="forms", classes=classes, logger=logger)
    returned = model.predict(data)
    assert type(returned) is type(answer)
    events = logged_by(logger, collector)
    assert [(p.item_id, p.prediction) for p in events] == logged
    named = "x0" if isinstance(data, np.ndarray) else "n"
    assert [list(p.features.items()) for p in events if p.item_id == events[0].item_id] == [[(named, 1)], [(named, 2)]]
    if events[0].probabilities is not None:
        assert [p.probabilities for p in events] == [{"ok": 0.25, "bad": 0.75}, {"ok": 1.0, "bad": 0.0}]


def test_rows_are_logged_as_they_were_given(registry, tmp_path, logger, collector):
    """Before MLflow makes of them what the signature says."""
    given = ROWS[["n", "amount", "country"]].astype({"n": "int32"})
    path = str(tmp_path / "model")
    signature = mlflow.models.infer_signature(given[["amount", "n"]].astype(float), [0.0])
    mlflow.pyfunc.save_model(
        path, python_model=Returned([1, 2, 3]), signature=signature, pip_requirements=["mlflow-skinny"]
    )
    upshot_mlflow.load_model(path, logger=logger).predict(given)
    assert [p.features for p in logged_by(logger, collector)] == given.to_dict("records")


def test_a_saved_model_logs_by_itself_when_it_is_loaded(registry, tmp_path, collector):
    """In a process that knows nothing of it: MLflow loads it, the UPSHOT_* variables say where to."""
    fitted = estimator()
    path = tmp_path / "model"
    logged = upshot_mlflow.LoggedPythonModel(fitted.predict_proba, model="fraud", classes=["ok", "bad"])
    mlflow.pyfunc.save_model(path, python_model=logged, pip_requirements=["mlflow-skinny"])
    code = f"import mlflow; print(mlflow.pyfunc.load_model({str(path)!r}).predict([[12.5, 1], [900.0, 2]]).tolist())"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "UPSHOT_URL": collector.url, "UPSHOT_MODEL_VERSION": "5"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    expected = fitted.predict_proba(pd.DataFrame([[12.5, 1], [900.0, 2]], columns=["amount", "n"])).tolist()
    assert done.stdout.strip() == str(expected)
    events = collector.predictions
    assert [(p.model, p.model_version) for p in events] == [("fraud", "5")] * 2
    assert [p.probabilities for p in events] == [dict(zip(("ok", "bad"), row, strict=True)) for row in expected]
    assert [p.features for p in events] == [{"x0": 12.5, "x1": 1}, {"x0": 900.0, "x1": 2}]


def test_a_served_model_logs_by_itself_with_its_name_and_version(registry, collector):
    """``mlflow models serve``, as it is typed."""
    port = free_port()
    command = f"models serve -m models:/served/1 --env-manager local --host 127.0.0.1 --port {port} --workers 1"
    serving = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *command.split()],
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "MLFLOW_TRACKING_URI": registry,
            "UPSHOT_URL": collector.url,
            "UPSHOT_FLUSH_INTERVAL_S": "0.05",
        },
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert serving.poll() is None, "mlflow models serve ended"
        try:
            return httpx.get(f"{url}/ping").status_code == 200
        except httpx.TransportError:
            return False

    try:
        eventually(answers, 90, 0.1)
        answer = httpx.post(f"{url}/invocations", json={"dataframe_records": ROWS.to_dict("records")})
        assert answer.json() == {"predictions": [{"amount": 25.0}, {"amount": 1800.0}, {"amount": 6.0}]}
        eventually(lambda: len(collector.predictions) == 3)
    finally:
        os.killpg(serving.pid, signal.SIGTERM)
        serving.wait(30)
    assert [(p.model, p.model_version, p.prediction) for p in collector.predictions] == [
        ("served", "1", 25.0),
        ("served", "1", 1800.0),
        ("served", "1", 6.0),
    ]
    assert [p.features for p in collector.predictions] == ROWS.to_dict("records")
