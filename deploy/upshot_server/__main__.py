"""``python -m upshot_server`` is the ``upshot`` command."""

from upshot_server.cli import main

main()
