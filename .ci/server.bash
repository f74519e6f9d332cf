# shellcheck shell=bash
# Functions for scripts that need a server. The server is the release build, on a free port of 127.0.0.1.
#
# start_server OPTION...   starts the server, or $program if that is set. Sets $server to its PID, $port to its port, and $work to
#                          a new folder. $work/log is the server's log.
# stop_server              stops the server, and fails unless its exit status is 0
# await FILE TEXT          waits until the file contains the text, for at most 10 s

start_server() {
  work=$(mktemp -d)
  "${program:-target/release/switchboard}" --host 127.0.0.1 --port 0 "$@" >"$work/url" 2>"$work/log" &
  server=$!
  trap 'give_up $?' EXIT
  await "$work/url" 'http://'
  # Used by the scripts that source this file.
  # shellcheck disable=SC2034
  port=$(sed -n 's|.*http://127\.0\.0\.1:\([0-9]*\).*|\1|p' "$work/url")
}

stop_server() {
  kill -TERM "$server"
  wait "$server"
  trap - EXIT
  rm -rf "$work"
}

# Runs if a script fails before stop_server. Prints the log, and stops everything that the script started.
give_up() {
  trap - EXIT
  cat "$work/log" >&2
  local job
  for job in $(jobs -p); do
    kill "$job" 2>/dev/null || true
  done
  rm -rf "$work"
  exit "$1"
}

await() {
  local tries=200
  # -s: the file may not exist yet.
  until grep -qsF -- "$2" "$1"; do
    tries=$((tries - 1))
    if [ "$tries" -eq 0 ]; then
      echo "'$2' not found in $1, which contains:" >&2
      cat "$1" >&2
      return 1
    fi
    sleep 0.05
  done
}
