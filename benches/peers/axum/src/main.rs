//! axum's chat example: a broadcast channel, and two tasks per connection. The sending task drains the queue before it
//! flushes. Listens on 127.0.0.1, port PORT from the environment.

use std::net::Ipv4Addr;

use axum::Router;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use axum::extract::{Path, State, WebSocketUpgrade};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::SinkExt;
use futures_util::stream::{SplitSink, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::broadcast::{self, error::TryRecvError};

/// Larger than the largest burst: a client that falls further behind misses messages.
const QUEUE: usize = 1 << 16;

const PAGE: &str = include_str!("../../../../index.html");

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::var("PORT")?.parse()?;
    let (room, _) = broadcast::channel::<Utf8Bytes>(QUEUE);
    let app = Router::new().route("/", get(page)).route("/ws/{id}", get(upgrade)).with_state(room);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // Failure only makes it slower.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, app).await?;
    Ok(())
}

async fn page() -> impl IntoResponse {
    let headers =
        [(CONTENT_TYPE, "text/html; charset=utf-8"), (CACHE_CONTROL, "no-cache"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (headers, PAGE)
}

async fn upgrade(
    upgrade: WebSocketUpgrade,
    Path(id): Path<i64>,
    State(room): State<broadcast::Sender<Utf8Bytes>>,
) -> Response {
    upgrade.on_upgrade(move |socket| chat(socket, id, room))
}

async fn chat(socket: WebSocket, id: i64, room: broadcast::Sender<Utf8Bytes>) {
    let messages = room.subscribe();
    let (sink, mut stream) = socket.split();
    let mut sender = tokio::spawn(deliver(sink, messages));
    let mut reader = tokio::spawn(async move {
        while let Some(Ok(message)) = stream.next().await {
            if let Message::Text(text) = message {
                // Can't fail: this connection's own receiver exists.
                let _ = room.send(format!("Client #{id} says: {text}").into());
            }
        }
    });
    tokio::select! {
        _ = &mut sender => reader.abort(),
        _ = &mut reader => sender.abort(),
    }
}

async fn deliver(mut sink: SplitSink<WebSocket, Message>, mut messages: broadcast::Receiver<Utf8Bytes>) {
    while let Ok(message) = messages.recv().await {
        if sink.feed(Message::Text(message)).await.is_err() {
            return;
        }
        loop {
            match messages.try_recv() {
                Ok(message) => {
                    if sink.feed(Message::Text(message)).await.is_err() {
                        return;
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(_) => return,
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
}
