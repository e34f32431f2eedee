#!/bin/sh
# A Chromium for the browser tests: the one on the PATH, Debian's package, or else the one that Playwright downloads.
# Without any, the tests that need it are skipped, and fail where CI=true.
set -eu
python=$1
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then exit 0; fi
done
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null && exit 0
fi
"$python" -m playwright install chromium || [ "${CI:-}" != true ]
