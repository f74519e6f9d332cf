"""The chat of broadcaster's README, as a FastAPI application: one room on all servers that use the same Redis.

Listens on 127.0.0.1, port PORT from the environment; REDIS is the URL of the Redis.
"""

import os
from contextlib import asynccontextmanager

import anyio
import uvicorn
from broadcaster import Broadcast
from fastapi import FastAPI, WebSocket

broadcast = Broadcast(os.environ["REDIS"])


@asynccontextmanager
async def lifespan(app: FastAPI):
    async with broadcast:
        yield


app = FastAPI(lifespan=lifespan)


@app.websocket("/ws/{client_id}")
async def chat(websocket: WebSocket, client_id: int):
    await websocket.accept()
    async with anyio.create_task_group() as task_group:

        async def run_receiver():
            await receiver(websocket, client_id)
            task_group.cancel_scope.cancel()

        task_group.start_soon(run_receiver)
        await sender(websocket)


async def receiver(websocket: WebSocket, client_id: int):
    async for text in websocket.iter_text():
        await broadcast.publish(channel="chatroom", message=f"Client #{client_id} says: {text}")


async def sender(websocket: WebSocket):
    async with broadcast.subscribe(channel="chatroom") as subscriber:
        async for event in subscriber:
            await websocket.send_text(event.message)


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        log_level="critical",
        access_log=False,
        ws_per_message_deflate=False,
    )
