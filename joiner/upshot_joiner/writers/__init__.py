"""The books of each writer: which of the numbers it gave to its events have arrived, and what became of the others.

``arrivals`` notes with every commit which ``seq`` came (``seqs``: sets of numbers as runs) → ``books`` weighs them against the
writer's own report → ``answers`` tells. In: committed events and reports. Out: per writer, complete, waiting or lossy.
Promises: a number counts once, however often its event comes; what is on disk is counted, also after a crash at any moment; what
cannot be explained is said.
"""
