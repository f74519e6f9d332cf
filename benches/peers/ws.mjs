// The broadcast example of `ws`, for Node. Listens on 127.0.0.1, port PORT from the environment.
import WebSocket, { WebSocketServer } from "ws";

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.env.PORT),
  perMessageDeflate: false,
});

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
