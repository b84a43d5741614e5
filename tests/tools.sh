#!/bin/sh
# Installs what the tests need beside Python, from Debian's packages where it may: a PostgreSQL server with
# pgTAP and plpgsql_check, pg_prove, Redis, PgBouncer, pgBackRest, Prometheus, wrk, nft, faketime, Chromium
# and Docker Compose. `tests/tools.sh stack` adds Docker Engine and debootstrap, `tests/tools.sh clients` adds
# Node.js, Go, a JDK and Maven.
set -eu
suite=${1-}
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin"

binaries=$(.venv/bin/python - <<'PYTHON'
import sys

from gateway.operate.postgres_programs import find_binaries
from gateway.problems import OperatorError

try:
    print(find_binaries(install=True, report=lambda line: print(line, file=sys.stderr)))
except OperatorError as error:
    sys.exit(f"{error}\n{error.hint or ''}")
PYTHON
)
version=$("$binaries/postgres" --version | sed 's/.*(PostgreSQL) \([0-9]*\).*/\1/')
extensions=$("$binaries/pg_config" --sharedir)/extension

# What the validators and the generated clients need at least.
node_is_new='const [major, minor] = process.versions.node.split(".").map(Number);
    process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)'
go_is_new() {
    found=$(go env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    [ "${found:-0}" -ge 23 ]
}
java_is_new() {
    found=$(javac -version 2>&1 | sed -n 's/^javac \([0-9]*\).*/\1/p')
    [ "${found:-0}" -ge 17 ]
}

# Prints one line for each missing tool: Debian's package and its name.
missing() {
    command -v psql >/dev/null || echo "postgresql-client-$version psql"
    command -v pg_prove >/dev/null || echo "libtap-parser-sourcehandler-pgtap-perl pg_prove (CPAN: TAP::Parser::SourceHandler::pgTAP)"
    command -v redis-server >/dev/null || echo "redis-server Redis"
    command -v pgbouncer >/dev/null || echo "pgbouncer PgBouncer"
    command -v promtool >/dev/null || echo "prometheus Prometheus, with promtool"
    command -v pgbackrest >/dev/null || echo "pgbackrest pgBackRest"
    command -v wrk >/dev/null || echo "wrk wrk"
    command -v nft >/dev/null || echo "nftables nft"
    set -- /usr/lib/*/faketime/libfaketimeMT.so.1
    [ -e "$1" ] || echo "faketime faketime"
    command -v chromium >/dev/null || command -v google-chrome >/dev/null || echo "chromium Chromium"
    [ -e "$extensions/pgtap.control" ] || echo "postgresql-$version-pgtap pgTAP (https://pgtap.org)"
    [ -e "$extensions/plpgsql_check.control" ] ||
        echo "postgresql-$version-plpgsql-check plpgsql_check (https://github.com/okbob/plpgsql_check)"
    if [ "$suite" = stack ]; then
        command -v dockerd >/dev/null || echo "docker.io Docker Engine"
        command -v debootstrap >/dev/null || echo "debootstrap debootstrap"
    fi
    if [ "$suite" = clients ]; then
        node -e "$node_is_new" 2>/dev/null || echo "nodejs Node.js 20.19 or newer (Debian 13 has it)"
        command -v npm >/dev/null || echo "npm npm"
        go_is_new || echo "golang-go Go 1.23 or newer (Debian 13 has it)"
        java_is_new || echo "default-jdk-headless a JDK, 17 or newer"
        command -v mvn >/dev/null || echo "maven Maven"
    fi
}

packages=$(missing | cut -d ' ' -f 1)

sudo=
[ "$(id -u)" = 0 ] || sudo='sudo -n'
if [ -n "$packages" ] && command -v apt-get >/dev/null && $sudo true 2>/dev/null; then
    echo "installing" $packages >&2
    # Debian starts the services that it installs, but the tests run their own. The policy prevents this
    # during the installation; a policy of the machine stays.
    $sudo sh -eu -s -- $packages <<'ROOT'
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' > $policy
    chmod 755 $policy
fi
{
    apt-get update -qq
    apt-get install -qq --yes --no-install-recommends "$@" </dev/null
} >/dev/null
if [ -d /run/systemd/system ]; then
    for service in redis-server pgbouncer prometheus; do
        case " $* " in *" $service "*) systemctl disable --quiet $service ;; esac
    done
fi
ROOT
fi

if [ -n "$(missing)" ]; then
    echo 'The tests need what this machine does not have:' >&2
    missing | cut -d ' ' -f 2- | sed 's/^/    /' >&2
    echo "On Debian and Ubuntu: sudo apt-get install" $packages >&2
    exit 1
fi

# Docker Compose 2 is one binary; the tests need `docker-compose config`. Where it is missing, a package is
# unpacked here without installing it. Debian 12 has only the dead version 1, so it takes Debian 13's.
compose=.venv/bin/docker-compose
plugin=docker/cli-plugins/docker-compose
for found in "$compose" "$(command -v docker-compose || true)" "/usr/libexec/$plugin" "/usr/lib/$plugin" \
    "/usr/local/lib/$plugin" "${HOME-}/.docker/cli-plugins/docker-compose"; do
    case $("$found" version --short 2>/dev/null || true) in
        2.* | v2.* | 5.* | v5.*)
            [ "$found" = "$compose" ] || ln -sf "$found" "$compose"
            exit 0
            ;;
    esac
done
echo 'unpacking Docker Compose into .venv' >&2
directory=$PWD/.venv/compose
mkdir -p "$directory/lists/partial" "$directory/archives/partial"
cd "$directory"
package=docker-compose-v2 # Ubuntu's name
set --
if ! apt-cache show $package >/dev/null 2>&1; then
    package=docker-compose
    # Only the package lists show which repository is Debian's.
    mirror() { apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' | head -n 1; }
    [ -n "$(mirror)" ] || $sudo apt-get -qq update
    mirror=$(mirror)
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" > sources.list
    set -- -o Dir::State::Lists="$directory/lists" -o Dir::Cache="$directory" -o Dir::Etc::SourceList="$directory/sources.list" \
        -o Dir::Etc::SourceParts=/dev/null -o APT::Sandbox::User="$(id -un)"
    apt-get "$@" -qq update
fi
apt-get "$@" -qq download $package >/dev/null
dpkg-deb --extract ./*.deb .
ln -sf "../compose/usr/libexec/$plugin" ../bin/docker-compose
rm -rf lists archives ./*.deb ./*.bin
