"""Prints every stored label event of a data folder, without its ID and the moment of its receipt, one JSON line each.

Run as ``python ledger.py FOLDER``, when no server has the folder open.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from upshot_joiner.store.client import Store

_ALL = """
SELECT request_id, item_id, model, name, op, value_kind, value_text, toString(observed_at), source
FROM label_events FINAL ORDER BY ALL
"""


def main(folder: Path) -> None:
    """Print the ledger."""
    store = Store.open_embedded(folder)
    for row in store.query(_ALL):
        print(json.dumps(row))
    store.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
