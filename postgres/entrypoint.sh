#!/bin/sh
# Checks the secrets, then starts the server through the entry point of the base image.
set -eu
. /usr/local/lib/mana/secret.sh

password=$(secret POSTGRES_PASSWORD)
unset POSTGRES_PASSWORD POSTGRES_PASSWORD_FILE
# Only the first start needs it, to make the database. Afterwards it stays out of the environment.
[ -s "${PGDATA:=/var/lib/postgresql/data}/PG_VERSION" ] || export POSTGRES_PASSWORD="$password"

# archive_command and restore_command find the passphrase in the server's environment.
if [ -n "${BACKUP_PASSPHRASE-}${BACKUP_PASSPHRASE_FILE-}" ]; then
    PGBACKREST_REPO1_CIPHER_PASS=$(secret BACKUP_PASSPHRASE)
    export PGBACKREST_REPO1_CIPHER_PASS PGBACKREST_REPO1_CIPHER_TYPE=aes-256-cbc
fi
unset BACKUP_PASSPHRASE BACKUP_PASSPHRASE_FILE

# TLS when a certificate is mounted. The server must own the key, with mode 0600.
if [ "${1-}" = postgres ] && [ -r /etc/tls/tls.crt ]; then
    set -- "$@" -c ssl=on -c ssl_cert_file=/etc/tls/tls.crt -c ssl_key_file=/etc/tls/tls.key
fi

exec docker-entrypoint.sh "$@"
