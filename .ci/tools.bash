# shellcheck shell=bash
# Functions that the scripts in this folder share.
#
# need PACKAGE[:COMMAND]...  installs the packages with apt-get whose command is missing
# need_python MODULE...      installs the modules with pip in target/tools/venv if one is missing
# free_port                  prints a port of 127.0.0.1 that is free now
# published FILE NAME        prints the ```NAME block of a Markdown file
# same NAME GOT EXPECTED     ends the script unless the two are equal

need() {
  local tool packages=()
  for tool in "$@"; do
    command -v "${tool#*:}" >/dev/null || packages+=("${tool%:*}")
  done
  if [ ${#packages[@]} -gt 0 ]; then
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "${packages[@]}"; } >/dev/null
  fi
}

need_python() {
  local python=target/tools/venv/bin/python modules="$*"
  if ! "$python" -c "import ${modules// /, }" 2>/dev/null; then
    python3 -m venv target/tools/venv
    timeout 600 "$python" -m pip install --quiet --disable-pip-version-check "$@"
  fi
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

published() {
  sed -n "/^\`\`\`$2\$/,/^\`\`\`\$/p" "$1" | sed '/^```/d' | grep . || {
    echo "no \`\`\`$2 block in $1" >&2
    return 1
  }
}

same() {
  if [ "$2" != "$3" ]; then
    printf 'not ok: %s: got %s, expected %s\n' "$1" "$2" "$3" >&2
    exit 1
  fi
  echo "ok: $1"
}
