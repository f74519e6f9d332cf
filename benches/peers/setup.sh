#!/bin/sh
# Installs the other servers and their dependencies into the given folder (default: target/peers) and prints the commands
# that run the benchmarks against all of them. Needs Python 3, Node with npm, and cargo.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/../../target/peers}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

echo "FastAPI on uvicorn, and broadcaster" >&2
python3 -m venv "$folder/venv"
# With redis 8, the first subscribers of broadcaster 0.3.1 receive nothing.
"$folder/venv/bin/pip" install --quiet 'fastapi==0.165.0' 'uvicorn[standard]==0.54.0' \
  'broadcaster[redis]==0.3.1' 'redis==7.4.1'

echo "ws and Bun" >&2
# A script's imports are resolved from its own folder, so copy it next to node_modules.
cp "$here/ws.mjs" "$here/bun.js" "$here/../../index.html" "$folder"
npm install --prefix "$folder" --no-save --no-audit --no-fund --loglevel=error ws@8.23.0 bun@1.4.5 >&2

echo "Socket.IO" >&2
# In a folder of its own: bufferutil would also change how fast ws is.
mkdir -p "$folder/socketio"
cp "$here/socketio.mjs" "$folder/socketio"
npm install --prefix "$folder/socketio" --no-save --no-audit --no-fund --loglevel=error \
  socket.io@4.8.4 @socket.io/redis-streams-adapter@0.3.1 redis@6.3.1 bufferutil@4.1.0 >&2

for server in axum fastwebsockets; do
  echo "$server" >&2
  cargo build --release --quiet --locked --manifest-path "$here/$server/Cargo.toml" --target-dir "$folder/$server"
done

cat <<END
cargo bench -- \\
  --against 'bun=$folder/node_modules/.bin/bun $folder/bun.js' \\
  --against 'axum=$folder/axum/release/axum-chat' \\
  --against 'fastwebsockets=$folder/fastwebsockets/release/fastwebsockets-chat' \\
  --against 'ws=node $folder/ws.mjs' \\
  --against 'fastapi=$folder/venv/bin/python $here/fastapi_chat.py'

cargo bench --features redis --bench cluster    # expects the servers in target/peers
END
