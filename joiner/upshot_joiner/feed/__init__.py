"""Whether the labels of a model still come: a silent label feed is not a negative.

In: how many labels arrived in every ten minutes, and how many were due by what was served before. Out: stamped records of when
a feed was silent, which the join reads (``join/silence.py``).
Promises: a feed is called silent only where both its own history and chance say so; records are appended, never rewritten; with
too little history nothing is judged, and that is said.
"""
