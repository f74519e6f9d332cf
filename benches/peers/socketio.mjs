// Socket.IO with its Redis Streams adapter: one room on all servers that use the same Redis. Listens on 127.0.0.1, port
// PORT from the environment; REDIS is the URL of the Redis. Takes the client ID from the query: /socket.io/?id=42.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const redis = createClient({ url: process.env.REDIS });
// Without a listener, the first error would end the process. The client reconnects by itself.
redis.on("error", (error) => console.error(`Redis: ${error.message}`));
await redis.connect();

const http = createServer();
const io = new Server(http, {
  // All that its tuning guide and the adapter's README offer for a chat of short texts; `bufferutil` is installed.
  transports: ["websocket"],
  perMessageDeflate: false,
  serveClient: false,
  adapter: createAdapter(redis, { onlyPlaintext: true }),
});

io.on("connection", (socket) => {
  const id = socket.handshake.query.id;
  socket.on("message", (text) => io.emit("message", `Client #${id} says: ${text}`));
});

http.listen(Number(process.env.PORT), "127.0.0.1");
