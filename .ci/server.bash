# shellcheck shell=bash
# Sourced by the scripts that need a server: the release program on a free port of 127.0.0.1.
#
# start_server OPTION...   starts it; then $port is its port, $work a folder of its own, $work/log what it logs
# stop_server              stops it, which must end in order
# await FILE TEXT          waits until the file has the text, 10 s at most

start_server() {
  work=$(mktemp -d)
  target/release/switchboard --host 127.0.0.1 --port 0 "$@" >"$work/url" 2>"$work/log" &
  server=$!
  trap 'give_up $?' EXIT
  await "$work/url" 'http://'
  # For the scripts that source this.
  # shellcheck disable=SC2034
  port=$(sed -n 's|.*http://127\.0\.0\.1:\([0-9]*\).*|\1|p' "$work/url")
}

stop_server() {
  kill -TERM "$server"
  wait "$server"
  trap - EXIT
  rm -rf "$work"
}

# A step failed before stop_server. The log may tell why. Whatever else was started is stopped too, by its PID.
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
  # -s: the file comes with the program that writes it.
  until grep -qsF -- "$2" "$1"; do
    tries=$((tries - 1))
    if [ "$tries" -eq 0 ]; then
      echo "no '$2' in $1, only:" >&2
      cat "$1" >&2
      return 1
    fi
    sleep 0.05
  done
}
