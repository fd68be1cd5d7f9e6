"""Models for MLflow to save; pickled by value, as those of a user's script are."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import cloudpickle
import pandas as pd

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read by the import: tests report to nobody
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of itself while it is imported
    import mlflow.models
    import mlflow.pyfunc

    class Doubled(mlflow.pyfunc.PythonModel):
        """The amount times a factor, plus an offset."""

        def load_context(self, context: Any) -> None:
            """Read the factor."""
            self.factor = float(Path(context.artifacts["factor"]).read_text())

        def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
            """One number for each row."""
            return model_input["amount"] * self.factor + (params or {}).get("offset", 0)

    class Returned(mlflow.pyfunc.PythonModel):
        """Answers what it was made with."""

        def __init__(self, answer: Any) -> None:
            self.answer = answer

        def predict(self, model_input: pd.DataFrame, params: Any = None) -> Any:
            """The same for every input."""
            return self.answer

    import upshot.integrations.mlflow as upshot_mlflow

cloudpickle.register_pickle_by_value(sys.modules[__name__])

__all__ = ["Doubled", "Returned", "mlflow", "upshot_mlflow"]
