"""How a model does while labels are missing, and how good such estimates turned out to be.

In: the scores of rows whose windows are open, the matured rows of the past, the delays of labels. Out: estimates of every
metric with 95 % intervals, kept per day and compared with the truth once that is known. Promises: nothing is estimated from too
little; an estimate is never shown as a measurement, and never changed afterwards.
"""
