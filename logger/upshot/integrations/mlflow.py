"""MLflow: pyfunc models that log what they predict.

`load_model` and `log_pyfunc` are for a service that loads a model itself; `LoggedPythonModel` is saved with the model, so that
it logs wherever MLflow serves it. Every row of the input is one prediction event, with name and version from the registry.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
import yaml
from mlflow.pyfunc import PyFuncModel
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from mlflow.store.artifact.utils.models import get_model_name_and_version
from mlflow.utils.file_utils import local_file_uri_to_path

from upshot.integrations.rows import answers_of, collect_request_ids, log_table
from upshot.logger import Logger

__all__ = ["LoggedPyfunc", "LoggedPythonModel", "collect_request_ids", "load_model", "log_pyfunc"]

_SERVED_FOLDER = "__pyfunc_model_path__"
"""The variable in which MLflow's scoring server finds the URI of the model's folder."""


def load_model(
    model_uri: str,
    *,
    model: str | None = None,
    model_version: str | None = None,
    classes: Sequence[Any] | None = None,
    logger: Logger | None = None,
    **options: Any,
) -> LoggedPyfunc:
    """``mlflow.pyfunc.load_model(model_uri, **options)``, as a model that logs. Raises what MLflow raises.

    ``models:/fraud/3`` is logged as model ``fraud``, version ``3``; of ``models:/fraud@champion``, ``models:/fraud/latest`` and
    a stage it is the version that they mean now, and that version is loaded. The rest is said at `log_pyfunc`.
    """
    name, version = _registered(model_uri)
    if name and version and not model_uri.startswith("models://"):
        model_uri = f"models:/{name}/{version}"
    loaded = mlflow.pyfunc.load_model(model_uri, **options)
    return log_pyfunc(
        loaded, model=model or name, model_version=model_version or version, classes=classes, logger=logger
    )


def log_pyfunc(
    loaded: PyFuncModel,
    *,
    model_uri: str = "",
    model: str | None = None,
    model_version: str | None = None,
    classes: Sequence[Any] | None = None,
    logger: Logger | None = None,
) -> LoggedPyfunc:
    """A loaded pyfunc model as one that logs.

    ``model``, ``model_version``: unless given, those of ``model_uri``, from which it was loaded (``models:/fraud/3`` is model
    ``fraud``, version ``3``); else the name is that of the configuration, and the version MLflow's ID of the logged model, or
    of the run. ``classes``: in the order of the columns, when ``predict`` returns probabilities. ``logger``: instead of the
    default one.
    """
    name, version = _registered(model_uri)
    metadata = loaded.metadata
    version = model_version or version or getattr(metadata, "model_id", None) or metadata.run_id
    return LoggedPyfunc(loaded, model or name, version, classes, logger)


class LoggedPyfunc:
    """Answers as the loaded model does, and logs each row of ``predict``. Made by `load_model` and `log_pyfunc`."""

    def __init__(
        self,
        loaded: PyFuncModel,
        model: str | None,
        model_version: str | None,
        classes: Sequence[Any] | None,
        logger: Logger | None,
    ) -> None:
        self._loaded = loaded
        self._classes = classes
        self._logger = logger
        self.model = model
        self.model_version = model_version

    def predict(
        self, data: Any, params: dict[str, Any] | None = None, *, request_ids: Sequence[str] | None = None
    ) -> Any:
        """What the model predicts. ``request_ids``: one for each row; else they are made, see `collect_request_ids`.

        Several columns are the probabilities of ``classes`` where those were given; else each is an output of its own, with its
        name or number as the item ID.
        """
        result = self._loaded.predict(data, params)
        _log(
            self._logger,
            data,
            result,
            self._classes,
            request_ids,
            self.model,
            self.model_version,
        )
        return result

    def __getattr__(self, name: str) -> Any:
        if name == "_loaded":  # while it is copied
            raise AttributeError(name)
        return getattr(self._loaded, name)


class LoggedPythonModel(PythonModel):
    """A model to be saved, that logs wherever it is loaded or served.

    ::

        mlflow.pyfunc.save_model("folder", python_model=LoggedPythonModel(estimator.predict_proba, classes=estimator.classes_))

    ``python_model``: a ``PythonModel``, or a function of the input. ``classes``: as in `log_pyfunc`. ``model``, ``model_version``:
    unless given, those of the registry when MLflow serves it (``mlflow models serve -m models:/fraud/3``), else those of the
    configuration (``UPSHOT_MODEL``, ``UPSHOT_MODEL_VERSION``). Where it is loaded, ``upshot`` must be installed.
    """

    _skip_type_hint_validation = True
    """Asks MLflow not to put its validation around this class's ``predict``: it is around the inner model's."""

    def __init__(
        self,
        python_model: PythonModel | Callable[[Any], Any],
        *,
        model: str | None = None,
        model_version: str | None = None,
        classes: Sequence[Any] | None = None,
    ) -> None:
        self.python_model = python_model
        self.model = model
        self.model_version = model_version
        self.classes = None if classes is None else [*classes]

    @property
    def predict_type_hints(self) -> Any:
        """Those of the inner model, from which MLflow infers the signature."""
        inner = self.python_model
        return inner.predict_type_hints if isinstance(inner, PythonModel) else super().predict_type_hints

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the inner model's artifacts, and finds out which registered model this is."""
        if isinstance(self.python_model, PythonModel):
            self.python_model.load_context(context)  # type: ignore[no-untyped-call]
        name, version = _served()
        self.model = self.model or name
        self.model_version = self.model_version or version

    # Without types: MLflow would make of them what the input must be.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """What the inner model predicts."""
        inner = self.python_model
        call: Callable[..., Any] = inner.predict if isinstance(inner, PythonModel) else inner
        taken = inspect.signature(call).parameters if isinstance(inner, PythonModel) else {}
        given = [context, model_input] if "context" in taken else [model_input]
        result = call(*given, params=params) if "params" in taken else call(*given)
        _log(None, model_input, result, self.classes, None, self.model, self.model_version)
        return result


def _log(
    logger: Logger | None,
    data: Any,
    result: Any,
    classes: Sequence[Any] | None,
    request_ids: Sequence[str] | None,
    model: str | None,
    model_version: str | None,
) -> None:
    try:
        n_rows = len(result)
    except Exception:  # noqa: BLE001  # a model may return anything
        n_rows = 1
    log_table(
        logger,
        data,
        lambda n: answers_of(result, n, classes),
        request_ids=request_ids,
        n_rows=n_rows,
        model=model,
        model_version=model_version,
    )


def _registered(model_uri: str) -> tuple[str | None, str | None]:
    """Name and version of a registered model; None for what is none, or when the registry does not say."""
    if model_uri.startswith("models:/"):
        with contextlib.suppress(Exception):  # loading will say what is wrong
            found = get_model_name_and_version(mlflow.MlflowClient(), model_uri)  # type: ignore[no-untyped-call]
            if len(found) == 2:
                return str(found[0]), str(found[1])
    return None, None


def _served() -> tuple[str | None, str | None]:
    """Name and version of the model that this process serves, from what MLflow's scoring server put beside it."""
    with contextlib.suppress(Exception):  # no such server, or a model that is not registered
        note = Path(local_file_uri_to_path(os.environ[_SERVED_FOLDER])) / "registered_model_meta"  # type: ignore[no-untyped-call]
        found: Mapping[str, Any] = yaml.safe_load(note.read_text("utf-8"))
        return str(found["model_name"]), str(found["model_version"])
    return None, None
