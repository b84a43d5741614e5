#!/bin/sh
# Redis is healthy when it answers at all: without a password, with a refusal.
set -eu
redis-cli -p "${PORT:-6379}" ping 2>&1 | grep -qE '^(NOAUTH|PONG)'
