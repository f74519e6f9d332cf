//! A listener's queue, from which connections are taken one after another.

use std::io;
use std::net::{SocketAddr, TcpStream};
use tokio::net::TcpListener;

/// Takes connections from a listener's queue.
#[derive(Debug)]
pub struct Acceptor {
    listener: os::Listener,
    /// Where every connection arrives. `None` if the listener is bound to all interfaces.
    bound: Option<SocketAddr>,
}

/// A connection whose TCP handshake is done.
#[derive(Debug)]
pub struct Accepted {
    /// It does not block, and is registered with no runtime yet.
    pub socket: TcpStream,
    /// The server's address.
    pub local: SocketAddr,
    /// The client's address.
    pub address: SocketAddr,
}

impl Acceptor {
    /// Takes over a listener.
    ///
    /// # Errors
    /// The runtime can't wait for its events.
    pub fn new(listener: TcpListener) -> io::Result<Self> {
        let bound = listener.local_addr().ok().filter(|address| !address.ip().to_canonical().is_unspecified());
        Ok(Self { listener: os::register(listener)?, bound })
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// Those of `accept(2)`, for example at the limit on open files.
    pub async fn accept(&self) -> io::Result<Accepted> {
        loop {
            let (socket, address) = os::accept(&self.listener).await?;
            // A socket without an address has failed already.
            if let Some(local) = self.bound.or_else(|| socket.local_addr().ok()) {
                return Ok(Accepted { socket, local, address });
            }
        }
    }
}

/// `accept(2)` makes a socket and a file before it looks whether a connection waits, so with an empty queue it takes 3 µs. tokio's
/// listener calls it after each connection, to learn that it has to wait. `poll(2)` says so in 0.2 µs.
#[cfg(target_os = "linux")]
mod os {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::io;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    use tokio::task::consume_budget;

    pub type Listener = AsyncFd<TcpListener>;

    #[expect(deprecated, reason = "its replacement is unsafe, because of types that don't own their descriptor")]
    pub fn register(listener: tokio::net::TcpListener) -> io::Result<Listener> {
        AsyncFd::with_interest(listener.into_std()?, Interest::READABLE)
    }

    pub async fn accept(listener: &Listener) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            // However many wait, the thread's other tasks run now and then.
            consume_budget().await;
            let mut readable = listener.readable().await?;
            let Ok(accepted) = readable.try_io(|listener| listener.get_ref().accept()) else { continue };
            if is_empty(listener.get_ref()) {
                // A connection that arrives from now on causes an event.
                readable.clear_ready();
            }
            let (socket, address) = accepted?;
            socket.set_nonblocking(true)?;
            return Ok((socket, address));
        }
    }

    fn is_empty(listener: &TcpListener) -> bool {
        poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&Timespec::default())) == Ok(0)
    }
}

#[cfg(not(target_os = "linux"))]
mod os {
    use std::io;
    use std::net::{SocketAddr, TcpStream};
    use tokio::net::TcpListener;

    pub type Listener = TcpListener;

    pub fn register(listener: TcpListener) -> io::Result<Listener> {
        Ok(listener)
    }

    pub async fn accept(listener: &Listener) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, address) = listener.accept().await?;
        Ok((socket.into_std()?, address))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    #[cfg(target_os = "linux")]
    use crate::server::listener::listen_on;
    use std::time::Duration;
    use tokio::runtime::Builder;
    use tokio::time::timeout;

    const DEADLINE: Duration = Duration::from_secs(10);

    async fn next(acceptor: &Acceptor) -> Accepted {
        timeout(DEADLINE, acceptor.accept()).await.expect("a connection waits").unwrap()
    }

    fn canonical(address: SocketAddr) -> SocketAddr {
        (address.ip().to_canonical(), address.port()).into()
    }

    #[test]
    fn takes_each_connection_once() {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            for interface in ["127.0.0.1:0", "0.0.0.0:0", "[::ffff:0.0.0.0]:0"] {
                let listener = TcpListener::bind(interface).await.unwrap();
                let server = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
                let acceptor = Acceptor::new(listener).unwrap();
                // One event tells of all that came before it.
                for together in [3, 1, 2] {
                    let clients: Vec<_> = (0..together).map(|_| TcpStream::connect(server).unwrap()).collect();
                    for client in clients {
                        let Accepted { socket, local, address } = next(&acceptor).await;
                        assert_eq!((canonical(local), canonical(address)), (server, client.local_addr().unwrap()));
                        assert_eq!(socket.peer_addr().unwrap(), address);
                    }
                    assert!(timeout(Duration::ZERO, acceptor.accept()).await.is_err());
                }
            }
        });
    }

    /// tokio lets a task go on for 128 steps. Other systems queue fewer connections.
    #[cfg(target_os = "linux")]
    #[test]
    fn other_tasks_run_while_many_wait() {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let listener = listen_on(([127, 0, 0, 1], 0).into()).unwrap();
            let server = listener.local_addr().unwrap();
            let acceptor = Acceptor::new(listener).unwrap();
            let clients: Vec<_> = (0..150).map(|_| TcpStream::connect(server).unwrap()).collect();
            next(&acceptor).await;
            let other = tokio::spawn(async {});
            for _ in &clients[1..] {
                next(&acceptor).await;
            }
            assert!(other.is_finished());
        });
    }
}
