"""The demo: a year of real flights through the whole loop, in three processes.

In: the flights, weather and planes of New York's airports in 2013. Out: a running Upshot with nine months of
predictions, labels that came when the planes landed, a training set, a second model trained on it, and a verdict on
which model was better. ``story`` composes it, ``replay`` drives it, ``service`` is the model service (a client of
Upshot like any other), ``server`` the embedded server on a replayed clock. Promise: every figure shown comes from
Upshot's own API or export.
"""
