#!/bin/sh
# certificates.sh DIRECTORY: makes an authority and the certificates of PostgreSQL and PgBouncer, for
# overlays/tls.yml. Run it as root, because each key belongs to the account of its container. A second
# run renews the certificates with the same authority; they last for a year.
set -eu
umask 077
mkdir -p "$1/ca" && cd "$1"
chmod 0755 . ca

if [ ! -e authority.key ]; then
    openssl req -x509 -newkey rsa:3072 -noenc -days 3650 -subj '/CN=Mana inside' -keyout authority.key -out ca/ca.crt
fi
for service in postgres:999 pgbouncer:65532; do
    name=${service%:*} account=${service#*:}
    mkdir -p "$name"
    openssl req -newkey rsa:2048 -noenc -subj "/CN=$name" -addext "subjectAltName=DNS:$name" \
        -keyout "$name/tls.key" -out "$name/request"
    openssl x509 -req -in "$name/request" -CA ca/ca.crt -CAkey authority.key -days 365 -copy_extensions copy \
        -out "$name/tls.crt"
    rm "$name/request"
    cp ca/ca.crt "$name/"
    chmod 0755 "$name" && chmod 0644 "$name"/*.crt ca/ca.crt && chmod 0600 "$name/tls.key"
    chown "$account:$account" "$name/tls.key"
done
