"""Puts the parts together: settings, the composed application, the HTTP routes, the ``upshot`` command line.

In: settings and a clock. Out: one process that serves the API and the dashboard, joins, rolls up and exports.
"""
