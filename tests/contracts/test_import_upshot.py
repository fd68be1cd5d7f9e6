"""What ``import upshot`` does to a model service: as good as nothing."""

from __future__ import annotations

import subprocess
import sys

AUDIT = """
import os, sys, threading

looked_up = []

class Environment(type(os.environ)):
    def __getitem__(self, name):
        looked_up.append(name)
        return super().__getitem__(name)

os.environ.__class__ = Environment
os.environ.get("PROOF")  # that a look-up is noticed
assert looked_up == ["PROOF"], looked_up
del looked_up[:]

import zstandard  # looks for PYTHON_ZSTANDARD_IMPORT_POLICY; what is asked below is what upshot itself looks up
assert looked_up == ["PYTHON_ZSTANDARD_IMPORT_POLICY"], looked_up
del looked_up[:]

audited = []
sys.addaudithook(lambda event, args: audited.append(event) if event.startswith(("socket.", "os.fork", "subprocess.")) else None)

import upshot

assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
assert not audited, audited
print(*sorted(sys.modules), sep="\\n")
print("LOOKED UP", *looked_up)
"""


def imported() -> tuple[set[str], list[str]]:
    """Modules and environment look-ups after ``import upshot`` in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-c", AUDIT], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    *modules, looked_up = done.stdout.splitlines()
    return set(modules), looked_up.split()[2:]


def test_import_upshot_starts_no_thread_opens_nothing_and_reads_no_environment():
    """All three happen at the first event or at configure(), where an error can be said."""
    _, looked_up = imported()
    assert looked_up == []


def test_import_upshot_pulls_in_the_standard_library_and_two_small_wheels():
    """A model service must not pay for the server's libraries, nor for NumPy when it has none."""
    modules, _ = imported()
    roots = {name.partition(".")[0] for name in modules}
    foreign = roots - set(sys.stdlib_module_names) - {"upshot", "__main__"}
    # pip and virtualenv put start-up hooks of their own into an environment
    foreign = {name for name in foreign if not name.startswith(("_", "distutils", "sitecustomize"))}
    assert foreign <= {"msgspec", "zstandard", "typing_extensions"}  # msgspec takes the last where it is installed
    assert not roots & {
        "fastapi", "pandas", "clickhouse_connect", "evidently", "numpy", "pyarrow",
        "upshot_joiner", "upshot_monitoring", "upshot_server",
    }  # fmt: skip
