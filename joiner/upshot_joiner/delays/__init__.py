"""How long labels take to come, and what a window would lose.

In: the outcomes of each hour of predictions, rolled up (``label_hours.py``). Out: the delay curve and the advice about windows.
Promises: a prediction that has no label *yet* is never counted as one that gets none, nor left out: it counts for as long as it
has been watched. ``delay_curve.py`` and ``window_advice.py`` are arithmetic on counts and know no database.
"""
