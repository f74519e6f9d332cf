#!/bin/sh
# Installs the other servers and their dependencies into the given folder (default: target/peers) and prints the command
# that runs the benchmark against all of them. Needs Python 3, Node with npm, and cargo.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/../../target/peers}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

echo "FastAPI on uvicorn" >&2
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'fastapi==0.165.0' 'uvicorn[standard]==0.54.0'

echo "ws and Bun" >&2
# A script's imports are resolved from its own folder, so copy it next to node_modules.
cp "$here/ws.mjs" "$here/bun.js" "$folder"
npm install --prefix "$folder" --no-save --no-audit --no-fund --loglevel=error ws@8.23.0 bun@1.4.5 >&2

echo "axum" >&2
cargo build --release --quiet --manifest-path "$here/axum/Cargo.toml" --target-dir "$folder/axum"

cat <<END
cargo bench -- \\
  --against 'bun=$folder/node_modules/.bin/bun $folder/bun.js' \\
  --against 'axum=$folder/axum/release/axum-chat' \\
  --against 'ws=node $folder/ws.mjs' \\
  --against 'fastapi=$folder/venv/bin/python $here/fastapi_chat.py'
END
