"""Where messages go, one file for each way: the webhook of our own, and Apprise for Slack, email, PagerDuty and the rest.

Enters: a message and where its secrets are. Leaves: one attempt to deliver it: done, refused for good, or to be tried again.
"""
