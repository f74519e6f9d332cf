#!/usr/bin/env bash
# setup.sh [DIR]: installs Autobahn|Testsuite with pip in DIR/venv (default: target/conformance). Takes about 40 s.
#
# The suite is a Python 2.7 program. setup.sh needs a CPython 2.7 that has pip: the one named by $PY2, one on PATH, or
# one from pyenv. It also needs gcc. It exits with status 3 if there is no Python 2.7.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-$here/../../target/conformance}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

python2=
for candidate in "${PY2:-}" python2.7 "$HOME"/.pyenv/versions/2.7.*/bin/python2.7; do
  if [ -n "$candidate" ] && "$candidate" -c '' 2>/dev/null; then
    python2=$candidate
    break
  fi
done
if [ -z "$python2" ]; then
  echo 'setup.sh: Python 2.7 not found' >&2
  exit 3
fi

# The versions are the last ones that support Python 2.7.
"$python2" -m pip install --quiet --target "$dir/virtualenv" virtualenv==16.7.10
PYTHONPATH=$dir/virtualenv "$python2" -m virtualenv --quiet --no-download "$dir/venv"
python=$dir/venv/bin/python
"$python" -m pip install --quiet pip==20.3.4 setuptools==44.0.0 wheel==0.36.2
"$python" -m pip install --quiet --no-deps -r "$here/requirements.txt"
"$python" "$dir/venv/bin/wstest" --autobahnversion
