// The broadcast example of `ws`, for Node. Listens on 127.0.0.1, port PORT from the environment.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import WebSocket, { WebSocketServer } from "ws";

// setup.sh has copied the page next to this script.
const page = readFileSync(new URL("index.html", import.meta.url));
const headers = {
  "content-type": "text/html; charset=utf-8",
  "content-length": page.length,
  "cache-control": "no-cache",
  "x-content-type-options": "nosniff",
};

const http = createServer((request, response) => {
  if (request.url === "/") {
    response.writeHead(200, headers).end(page);
  } else {
    response.writeHead(426).end();
  }
});
const server = new WebSocketServer({ server: http, perMessageDeflate: false });

server.on("connection", (socket, request) => {
  const id = request.url.slice("/ws/".length);
  socket.on("error", () => socket.terminate());
  socket.on("message", (text) => {
    // As a buffer, the text is encoded once instead of once per client.
    const message = Buffer.from(`Client #${id} says: ${text}`);
    for (const client of server.clients) {
      if (client.readyState === WebSocket.OPEN) {
        client.send(message, { binary: false });
      }
    }
  });
});

http.listen(Number(process.env.PORT), "127.0.0.1");
