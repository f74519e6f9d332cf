#!/usr/bin/env bash
# run.sh URL [CASES [EXCLUDED]]: runs Autobahn|Testsuite against the WebSocket server at URL, which must echo messages.
#
# URL must be on loopback. CASES and EXCLUDED are lists of case patterns, such as '1.*,9.1.1' (default: all cases, none
# excluded). run.sh installs the suite with setup.sh if necessary. It prints a summary and each case that is not OK,
# and leaves the suite's report, summary.json and wstest.log in target/conformance/report.
#
# Exit status: 0 no case failed; 1 a case failed or is missing; 2 the suite could not run; 3 Python 2.7 not found.
# Environment: PY2, see setup.sh; WSTEST_TIMEOUT, the time limit in seconds (default: 3600).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ $# -lt 1 ]; then
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
url=$1
cases=${2:-*}
excluded=${3:-}
case $url in
  ws://127.0.0.1[:/]* | ws://127.0.0.1 | ws://localhost[:/]* | ws://localhost | ws://\[::1\]*) ;;
  *)
    echo "run.sh: $url is not on loopback" >&2
    exit 2
    ;;
esac

mkdir -p "$here/../../target/conformance"
dir=$(cd "$here/../../target/conformance" && pwd)
if ! "$dir/venv/bin/python" "$dir/venv/bin/wstest" --autobahnversion >/dev/null 2>&1; then
  status=0
  timeout --foreground 900 "$here/setup.sh" "$dir" >"$dir/setup.log" 2>&1 || status=$?
  if [ "$status" -ne 0 ]; then
    cat "$dir/setup.log" >&2
    [ "$status" -eq 3 ] || status=2
    exit "$status"
  fi
fi

report=$dir/report
rm -rf "$report"
mkdir -p "$report"
python3 - "$url" "$report" "$cases" "$excluded" >"$report/spec.json" <<'PYTHON'
import json, sys

url, report, cases, excluded = sys.argv[1:]
json.dump({
    "outdir": report,
    "servers": [{"agent": "testee", "url": url}],
    "cases": cases.split(","),
    "exclude-cases": excluded.split(",") if excluded else [],
    "exclude-agent-cases": {},
}, sys.stdout, indent=1)
PYTHON

# The script is passed to its interpreter, because the path in its first line may be too long for the kernel.
status=0
timeout --foreground "${WSTEST_TIMEOUT:-3600}" "$dir/venv/bin/python" -u "$dir/venv/bin/wstest" --mode fuzzingclient \
  --spec "$report/spec.json" >"$report/wstest.log" 2>&1 || status=$?
exec python3 "$here/summary.py" "$report" "$status"
