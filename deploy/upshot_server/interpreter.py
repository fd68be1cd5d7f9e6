"""How a process that takes events sets its Python interpreter.

*Reference cycles.* An event is some small objects without cycles, freed as soon as it is stored. The collector knows nothing of
that: by default it looks through all young objects after every 700 new ones, and through everything alive again and again; in a
process that holds tens of thousands of events at once that was a third of the time of intake.

*Threads.* The thread that commits gives the interpreter away whenever it talks to the store, some ten times a group, and by default
waits up to 5 ms for every thread that decodes until it has it again.
"""

from __future__ import annotations

import gc
import sys

_YOUNG = 50_000
"""New objects between two looks at the young ones: some thousands of events."""
_OLDER = 20
_OLDEST = 50
_SWITCH_S = 0.001


def tune_interpreter() -> None:
    """Call it once everything is opened: what is alive now stays alive, and is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _OLDER, _OLDEST)
    sys.setswitchinterval(_SWITCH_S)
