#!/bin/sh
# Starts Redis. Reads REDIS_PASSWORD (of the gateways) and MONITOR_PASSWORD, or .._FILE.
set -eu
umask 077
here=$(dirname "$0")
. "$here/secret.sh"
directory=${RUNTIME_DIRECTORY:-/run/redis}

hash_of() {
    printf %s "$1" | sha256sum | cut -d ' ' -f 1
}
password=$(secret REDIS_PASSWORD) || exit 1
monitor=$(secret MONITOR_PASSWORD) || exit 1

# The gateways may run the commands of their limiter, and only on its keys. The exporter may read
# statistics. Nobody may flush, save, list keys, or change the configuration.
cat > "$directory/users.acl" <<EOF
user default on #$(hash_of "$password") ~mana* resetchannels -@all +hello +ping +evalsha +script|load +get +set +exists +expire +pttl +incrby +rename
user monitor on #$(hash_of "$monitor") resetkeys resetchannels -@all +hello +ping +info +latency|latest +latency|histogram +slowlog|len +slowlog|get +client|setname
EOF
unset REDIS_PASSWORD MONITOR_PASSWORD password monitor secret_value
exec redis-server "$here/redis.conf" --dir "$directory" --port "${PORT:-6379}" --aclfile "$directory/users.acl"
