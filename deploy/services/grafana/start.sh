#!/bin/sh
# Starts Grafana. Reads the password of its user admin from GRAFANA_PASSWORD or GRAFANA_PASSWORD_FILE.
set -eu
. "$(dirname "$0")/secret.sh"
GF_SECURITY_ADMIN_PASSWORD=$(secret GRAFANA_PASSWORD) || exit 1
export GF_SECURITY_ADMIN_PASSWORD
unset GRAFANA_PASSWORD
exec /run.sh "$@"
