#!/usr/bin/env bash
# After `make test` failed: was it the machine? A few tests are about time, and three processes share two cores with the stores, brokers
# and browsers they start. At most three that failed are run again, alone, three times; each has to pass every time. Both results stay in
# the output: such a test is unsteady, and somebody has to find out why (docs/decisions/0035).
set -euo pipefail
cd "$(dirname "$0")/.."
failed=.pytest_cache/unsteady
.venv/bin/python - "$failed" <<'END'
import json, pathlib, sys

cache = pathlib.Path(".pytest_cache/v/cache/lastfailed")
found = sorted(json.loads(cache.read_text())) if cache.exists() else []
if not 0 < len(found) <= 3 or not all("::" in test for test in found):
    sys.exit(f"{len(found)} failed: that is not the machine")
pathlib.Path(sys.argv[1]).write_text("\n".join(found) + "\n")
END
for time in 1 2 3; do
  make test ARGS="-v @$failed"
done
echo "UNSTEADY: failed beside other tests, passed three times alone:"
cat "$failed"
