#!/bin/sh
# Runs the page's tests in a browser against the release binary, and installs what they need.
#
#   tests/browser/run.sh              the tests
#   tests/browser/run.sh pictures     the pictures of the README, into $PICTURES (tests/browser/pictures)
#
# SWITCHBOARD names another binary, CHROMIUM another browser.
set -eu
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
export SWITCHBOARD="${SWITCHBOARD:-$root/target/release/switchboard}"
export CHROMIUM="${CHROMIUM:-/usr/bin/chromium}"
export PICTURES="${PICTURES:-$root/tests/browser/pictures}"

if [ ! -x "$SWITCHBOARD" ]; then
    echo "no $SWITCHBOARD: run \`cargo build --release\` first" >&2
    exit 1
fi
if [ ! -x "$CHROMIUM" ] || ! fc-list | grep -q 'Noto Color Emoji'; then
    apt-get update -qq
    apt-get install -y -qq chromium fonts-noto-color-emoji
fi
npm ci --no-audit --no-fund --loglevel=error
npm run --silent "${1:-test}"
