// Bun's built-in server: every client subscribes to one topic. Listens on 127.0.0.1, port PORT from the environment.
// setup.sh has copied the page next to this script.
const page = await Bun.file(`${import.meta.dir}/index.html`).bytes();
const headers = {
  "content-type": "text/html; charset=utf-8",
  "cache-control": "no-cache",
  "x-content-type-options": "nosniff",
};

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.env.PORT),
  fetch(request, server) {
    const path = new URL(request.url).pathname;
    if (path === "/") {
      return new Response(page, { headers });
    }
    const id = path.slice("/ws/".length);
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
