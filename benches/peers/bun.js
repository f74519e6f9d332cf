// Bun's built-in server: every client subscribes to one topic. Listens on 127.0.0.1, port PORT from the environment.
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.env.PORT),
  fetch(request, server) {
    const id = new URL(request.url).pathname.slice("/ws/".length);
    if (server.upgrade(request, { data: { id } })) {
      return undefined;
    }
    return new Response("expected a WebSocket upgrade", { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    open(socket) {
      socket.subscribe("room");
    },
    message(socket, text) {
      server.publish("room", `Client #${socket.data.id} says: ${text}`);
    },
  },
});
