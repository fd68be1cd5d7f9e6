#!/bin/sh
# Runs a command whose temporary files lie in memory, where there is plenty of it: hundreds of stores wait for the disk at every
# write otherwise. That what was answered survives a power cut is shown on a real disk, by `make test-power` and `test-power-server`.
free_kb=$(awk '/^MemAvailable/ {print $2}' /proc/meminfo 2>/dev/null)
if [ -w /dev/shm ] && [ "${free_kb:-0}" -gt 12000000 ]; then
  TMPDIR=$(mktemp -d /dev/shm/u-XXXXXX)
  export TMPDIR
  trap 'rm -rf "$TMPDIR"' EXIT
  trap 'exit 130' INT TERM
fi
"$@"
