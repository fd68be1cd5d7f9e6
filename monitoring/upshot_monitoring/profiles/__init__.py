"""What the features of a model looked like, hour by hour.

In: the served tables and the hours that changed. Out: one row per model version, feature and hour, which add up to any window;
the same of each reference.
Promises: rolling an hour again replaces it; a sum of hours equals a profile of all their rows; late rows are counted.
"""
