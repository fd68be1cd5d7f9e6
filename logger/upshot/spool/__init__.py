"""The spool: encoded events on this machine's disk, between the call and the server.

One folder per destination (server or broker), in it one folder per writer, in it append-only segments, one series per kind
of event. Only its writer touches a folder while it lives: an ``flock`` says so. What a writer leaves behind, the next
logger with the same destination finds, takes over and sends.

``frame`` is one batch on disk, ``lane`` one writer's segments of one kind, ``folder`` who owns what, ``leftovers`` what others
left. When it is written, synced and given up is decided in ``upshot.delivery.spooled``.
"""
