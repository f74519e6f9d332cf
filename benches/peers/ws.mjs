// Node's `ws`: the broadcast of its README. Listens on 127.0.0.1, on the PORT in the environment.
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
    // A buffer, so that it is encoded once and not for each client.
    const message = Buffer.from(`Client #${id} says: ${text}`);
    for (const client of server.clients) {
      if (client.readyState === WebSocket.OPEN) {
        client.send(message, { binary: false });
      }
    }
  });
});
