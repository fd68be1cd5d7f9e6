"""What another policy would have earned, from the log of one that chose by chance (off-policy evaluation).

In: served rows with ``action`` and ``propensity``, their outcomes as rewards. Out: the value of other policies by IPS, SNIPS
and the doubly robust estimator, with 95 % intervals. Promises: no number where the log says too little about a policy; rows
count 1 / ``keep_probability``.
"""
