"""A comparison as the few lines of Python that make it again from its samples, with scikit-learn alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_HEAD = '''"""Multivariate drift of a model, made again from the samples that Upshot compared.

Needs: pip install httpx pandas pyarrow scikit-learn
"""

import io
import os

import httpx
import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

url = os.environ.get("UPSHOT_URL", {url!r})
path = {path!r}


def sample(method):
    file = httpx.get(f"{{url}}{{path}}/files/{{method}}.parquet", timeout=600).raise_for_status().content
    frame = pd.read_parquet(io.BytesIO(file))
    return frame, frame.filter(regex="^x").to_numpy(), frame["current"].to_numpy()
'''

_CODE = {
    "domain_classifier": """
# Can current rows be told from reference rows? 0.5: no; 1: each one. {threshold!r} or more was to be drift.
frame, rows, is_current = sample("domain_classifier")
aucs = []
for fold in sorted(frame["fold"].unique()):
    held = (frame["fold"] == fold).to_numpy()
    trees = HistGradientBoostingClassifier(
        **{trees!r}, categorical_features={classes!r}, random_state={seed!r}
    ).fit(rows[~held], is_current[~held])
    aucs.append(roc_auc_score(is_current[held], trees.decision_function(rows[held])))
print("domain_classifier", np.mean(aucs))
""",
    "pca_reconstruction": """
# Do features hang together as they did? A change of the error by {threshold!r} or more was to be drift.
frame, rows, is_current = sample("pca_reconstruction")
learnt = frame["learnt"].to_numpy()
scaler = StandardScaler().fit(rows[learnt])
pca = PCA({components!r}, svd_solver="full").fit(scaler.transform(rows[learnt]))
standard = scaler.transform(rows)
errors = np.linalg.norm(standard - pca.inverse_transform(pca.transform(standard)), axis=1)
print("pca_reconstruction", abs(errors[is_current].mean() / errors[~is_current & ~learnt].mean() - 1))
""",
}


def comparison_as_code(id_: str, methods: Sequence[Mapping[str, Any]], url: str) -> str:
    """The lines for these methods of a comparison: nothing in them comes from a request but numbers and the address."""
    head = _HEAD.format(url=url, path=f"/v1/multivariate-drifts/{id_}")
    return head + "".join(_CODE[one["method"]].format(**one) for one in methods)
