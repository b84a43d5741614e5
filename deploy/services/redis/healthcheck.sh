#!/bin/sh
# Redis is healthy when it answers at all, also when it refuses a command without a password.
set -eu
redis-cli -p "${PORT:-6379}" ping 2>&1 | grep -qE '^(NOAUTH|PONG)'
