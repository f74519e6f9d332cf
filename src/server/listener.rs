//! A listener whose connections have a bounded send buffer.

use crate::limits::{ACCEPT_QUEUE, SEND_BUFFER};
use std::io;
use std::net::{SocketAddr, TcpStream};
use tokio::net::{TcpListener, TcpSocket};

/// Binds an address, and listens. The accepted sockets inherit the size of the send buffer.
///
/// # Errors
/// The address is in use, or not one of this machine's.
pub fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Elsewhere than on Unix, this would let another program take the port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(ACCEPT_QUEUE)
}

/// Listens on a socket that has an address already. If it listens already, the connections in its queue are kept. The accepted
/// sockets inherit the size of the send buffer, except for those that are in the queue at the first start.
///
/// # Errors
/// It is no TCP socket, or it is the socket of a connection.
pub fn listen_with(socket: TcpStream) -> io::Result<TcpListener> {
    // Not a TCP or UDP socket: it could be a terminal, which must not become non-blocking for other programs.
    socket.local_addr()?;
    socket.set_nonblocking(true)?;
    let socket = TcpSocket::from_std_stream(socket);
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.listen(ACCEPT_QUEUE)
}
