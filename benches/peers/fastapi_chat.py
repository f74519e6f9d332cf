"""The chat of FastAPI's tutorial: a connection manager that awaits each socket in turn.

Listens on 127.0.0.1, port PORT from the environment. (This file must not be called fastapi.py, or Python would import it
instead of FastAPI.)
"""

import os
import pathlib

import uvicorn
from fastapi import FastAPI, Response, WebSocket, WebSocketDisconnect

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "index.html").read_bytes()
HEADERS = {"cache-control": "no-cache", "x-content-type-options": "nosniff"}


class ConnectionManager:
    def __init__(self):
        self.active_connections: list[WebSocket] = []

    async def connect(self, websocket: WebSocket):
        await websocket.accept()
        self.active_connections.append(websocket)

    def disconnect(self, websocket: WebSocket):
        self.active_connections.remove(websocket)

    async def broadcast(self, message: str):
        for connection in self.active_connections:
            await connection.send_text(message)


app = FastAPI()
manager = ConnectionManager()


@app.get("/")
async def page():
    return Response(PAGE, media_type="text/html", headers=HEADERS)


@app.websocket("/ws/{client_id}")
async def chat(websocket: WebSocket, client_id: int):
    await manager.connect(websocket)
    try:
        while True:
            text = await websocket.receive_text()
            await manager.broadcast(f"Client #{client_id} says: {text}")
    except WebSocketDisconnect:
        manager.disconnect(websocket)


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        log_level="critical",
        access_log=False,
        ws_per_message_deflate=False,
    )
