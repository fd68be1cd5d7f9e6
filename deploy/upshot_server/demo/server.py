"""The embedded Upshot server as the demo runs it: the product's own ``run``, with 2013 on its clock."""

from __future__ import annotations

import argparse
from pathlib import Path

from upshot_server.app import run
from upshot_server.demo.clock import SharedClock
from upshot_server.demo.processes import end_with_parent
from upshot_server.settings import Settings


def main() -> None:
    """Serve until told to end."""
    options = argparse.ArgumentParser()
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--clock", type=Path, required=True)
    options.add_argument("--port", type=int, required=True)
    chosen = options.parse_args()
    end_with_parent()
    run(Settings(data_dir=chosen.data, host="127.0.0.1", port=chosen.port), SharedClock(chosen.clock))


if __name__ == "__main__":
    main()
