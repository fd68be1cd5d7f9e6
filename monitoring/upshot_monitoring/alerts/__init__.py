"""Alerts: rules over what monitoring knows, and messages when their state changes.

Enter: the rules of a model's configuration and the channels of the server's settings. Leave: messages to a webhook, Slack, email,
PagerDuty or any service of Apprise; heartbeats; the answers of ``/alerts`` and ``upshot check``. Promises: a transition is told
once to each channel, also over a restart and by one of several servers; what is not known neither fires nor resolves.
"""
