// Bun's own server: a topic to which everyone subscribes. Listens on 127.0.0.1, on the PORT in the environment.
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.env.PORT),
  fetch(request, server) {
    const id = new URL(request.url).pathname.slice("/ws/".length);
    if (server.upgrade(request, { data: { id } })) {
      return undefined;
    }
    return new Response("a WebSocket is needed here", { status: 426 });
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
