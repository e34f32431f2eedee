#!/bin/sh
# A PostgreSQL server for the tests, which make a cluster of their own: the one that is here, or else Debian's package.
set -eu
for program in "$(command -v initdb || true)" /usr/lib/postgresql/*/bin/initdb; do
    if [ -x "$program" ]; then exit 0; fi
done
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    # Without this the package makes a cluster and starts it, now and whenever the machine starts.
    no_cluster=/etc/postgresql-common/createcluster.d/tests.conf
    mkdir -p "${no_cluster%/*}"
    trap 'rm -f "$no_cluster"' EXIT
    echo 'create_main_cluster = false' >"$no_cluster"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql >/dev/null && exit 0
fi
echo "Tests that need a PostgreSQL server are skipped. Install the package 'postgresql' of your system (on Debian and" >&2
echo "Ubuntu: sudo apt-get install postgresql), so that initdb is on the PATH or in /usr/lib/postgresql/*/bin." >&2
[ "${CI:-}" != true ]  # there they fail
