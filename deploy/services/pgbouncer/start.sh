#!/bin/sh
# Starts PgBouncer. Reads DATABASE_PASSWORD and MONITOR_PASSWORD (or .._FILE); all else has a default.
set -eu
umask 077
here=$(dirname "$0")
. "$here/secret.sh"
directory=${RUNTIME_DIRECTORY:-/run/pgbouncer}

password=$(secret DATABASE_PASSWORD) || exit 1
monitor=$(secret MONITOR_PASSWORD) || exit 1
printf '"mana_gateway" "%s"\n"mana_monitor" "%s"\n' "$password" "$monitor" > "$directory/users.txt"

cat > "$directory/pgbouncer.ini" <<EOF
[databases]
mana = host=${POSTGRES_HOST:-postgres} port=${POSTGRES_PORT:-5432} dbname=mana
%include $here/pgbouncer.ini
listen_addr = ${LISTEN:-0.0.0.0}
listen_port = ${PORT:-6432}
unix_socket_dir =
auth_file = $directory/users.txt
EOF
if [ -e "${TLS_DIRECTORY:-/etc/tls}/tls.crt" ]; then
    cat >> "$directory/pgbouncer.ini" <<EOF
client_tls_sslmode = require
client_tls_cert_file = ${TLS_DIRECTORY:-/etc/tls}/tls.crt
client_tls_key_file = ${TLS_DIRECTORY:-/etc/tls}/tls.key
client_tls_ca_file = ${TLS_DIRECTORY:-/etc/tls}/ca.crt
server_tls_sslmode = verify-full
server_tls_ca_file = ${TLS_DIRECTORY:-/etc/tls}/ca.crt
EOF
fi
# The secrets are in files now, so the server does not need them in its environment.
unset DATABASE_PASSWORD MONITOR_PASSWORD password monitor secret_value
exec pgbouncer "$directory/pgbouncer.ini"
