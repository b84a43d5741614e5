#!/bin/bash
# As in the official image, the first start makes the cluster, with the password of POSTGRES_PASSWORD or of
# the file POSTGRES_PASSWORD_FILE, makes the database POSTGRES_DB, and runs /docker-entrypoint-initdb.d.
set -euo pipefail

if [ "${1:-}" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    password=${POSTGRES_PASSWORD:-$(cat "${POSTGRES_PASSWORD_FILE:-/dev/null}")}
    if [ -z "$password" ]; then
        echo 'Error: Database is uninitialized and superuser password is not specified.' >&2
        exit 1
    fi
    eval "initdb --username=postgres --pwfile=/dev/stdin ${POSTGRES_INITDB_ARGS-}" <<< "$password"
    printf '\nhost all all all scram-sha-256\n' >> "$PGDATA/pg_hba.conf"
    pg_ctl --wait --options="$(printf '%q ' "${@:2}" -c 'listen_addresses=')" start
    [ "${POSTGRES_DB:-postgres}" = postgres ] ||
        psql --no-psqlrc --username=postgres --set=name="$POSTGRES_DB" <<< 'create database :"name"'
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
            *.sh) "$file" ;;
            *.sql) psql --no-psqlrc --username=postgres --dbname="${POSTGRES_DB:-postgres}" \
                --set=ON_ERROR_STOP=1 --file="$file" ;;
        esac
    done
    pg_ctl --wait --mode=fast stop
fi
exec "$@"
