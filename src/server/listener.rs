//! A listener whose connections have a bounded send buffer.

use crate::limits::{ACCEPT_QUEUE, SEND_BUFFER};
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpSocket};

/// Binds an address. The accepted sockets inherit the size of the send buffer.
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
