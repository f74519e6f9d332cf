//! A listener, and what its connections inherit from it.

use crate::limits::{ACCEPT_QUEUE, SEND_BUFFER};
use std::io;
use std::net::{SocketAddr, TcpStream};
use tokio::net::{TcpListener, TcpSocket};

/// Binds an address, and listens.
///
/// # Errors
/// The address is in use, or not one of this machine's.
pub fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Elsewhere than on Unix, this would let another program take the port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    set_options(&socket)?;
    socket.bind(address)?;
    socket.listen(ACCEPT_QUEUE)
}

/// Listens on a socket that has an address already. If it listens already, the connections in its queue are kept. At the first
/// start, these have not inherited its options.
///
/// # Errors
/// It is no TCP socket, or it is the socket of a connection.
pub fn listen_with(socket: TcpStream) -> io::Result<TcpListener> {
    // Not a TCP or UDP socket: it could be a terminal, which must not become non-blocking for other programs.
    socket.local_addr()?;
    socket.set_nonblocking(true)?;
    let socket = TcpSocket::from_std_stream(socket);
    set_options(&socket)?;
    socket.listen(ACCEPT_QUEUE)
}

/// Sets what accepted sockets inherit.
fn set_options(socket: &TcpSocket) -> io::Result<()> {
    socket.set_send_buffer_size(SEND_BUFFER)?;
    // No Nagle's algorithm: a turn already combines small writes, so TCP need not delay them to do the same.
    socket.set_nodelay(true)
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::runtime::Builder;

    #[test]
    fn accepted_sockets_inherit_the_options() {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let own = listen_on(([127, 0, 0, 1], 0).into()).unwrap();
            let given = TcpSocket::new_v4().unwrap();
            given.bind(([127, 0, 0, 1], 0).into()).unwrap();
            let given = given.listen(1).unwrap().into_std().unwrap();
            let given = listen_with(std::os::fd::OwnedFd::from(given).into()).unwrap();
            for listener in [own, given] {
                let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let (accepted, _) = listener.accept().await.unwrap();
                assert!(accepted.nodelay().unwrap());
            }
        });
    }
}
