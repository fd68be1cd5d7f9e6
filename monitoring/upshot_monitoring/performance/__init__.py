"""How well a model does, on rows whose outcome is known.

In: the served tables joined with the outcomes, by hour. Out: metrics with 95 % intervals per window, version and segment, on
matured rows; the open ones apart; two versions compared on the same requests.
Promises: metrics of matured rows only; every sum is exact; ranks are those of narrow score bins; undefined is left out, not 0.
"""
