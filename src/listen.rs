//! Where the program listens: the addresses of a host, one port for all of them, and the URLs that lead there; or the socket that
//! is standard input.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::str::FromStr;
use switchboard::server::listener::{listen_on, listen_with};
use tokio::net::TcpListener;

/// A host to listen on: its addresses, with port 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host(Vec<SocketAddr>);

impl Host {
    /// 127.0.0.1 and ::1
    pub fn loopback() -> Self {
        Self([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].map(with_port_0).into())
    }

    /// The addresses to bind. If a host has several, one that this machine does not have is left out: IPv6 may be missing.
    fn addresses(&self) -> Vec<SocketAddr> {
        let is_here = |address: &SocketAddr| std::net::TcpListener::bind(*address).is_ok();
        let here: Vec<_> = self.0.iter().copied().filter(is_here).collect();
        if here.is_empty() { self.0.clone() } else { here }
    }
}

fn with_port_0(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 0)
}

impl FromStr for Host {
    type Err = NoHost;

    /// An address, or a name, which is looked up.
    fn from_str(text: &str) -> Result<Self, NoHost> {
        if let Ok(address) = text.parse() {
            return Ok(Self(vec![with_port_0(address)]));
        }
        if text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
            return Err(NoHost::Port);
        }
        let mut addresses = Vec::new();
        add_new(&mut addresses, (text, 0).to_socket_addrs().map_err(NoHost::Unknown)?);
        Ok(Self(addresses))
    }
}

/// Why a text is no host.
#[derive(Debug)]
pub enum NoHost {
    /// It ends with a port.
    Port,
    /// The name has no address.
    Unknown(io::Error),
}

impl Display for NoHost {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port => write!(f, "must not have a port; set it with --port"),
            Self::Unknown(error) => write!(f, "{error}"),
        }
    }
}

impl Error for NoHost {}

/// An address that can't be listened on.
#[derive(Debug)]
struct CannotListen {
    address: SocketAddr,
    error: io::Error,
}

impl Display for CannotListen {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let advice = if self.error.kind() == ErrorKind::AddrInUse { "; choose another port with --port" } else { "" };
        write!(f, "can't listen on {}: {}{advice}", self.address, self.error)
    }
}

impl Error for CannotListen {}

/// Adds items that are not there yet.
fn add_new<T: PartialEq>(items: &mut Vec<T>, more: impl IntoIterator<Item = T>) {
    for item in more {
        if !items.contains(&item) {
            items.push(item);
        }
    }
}

/// Binds all addresses of the hosts, to one port, and returns the addresses that lead there too.
///
/// `::` is first: if its socket takes IPv4 connections too, no IPv4 address needs a socket, or can have one.
///
/// # Errors
/// An address can't be bound.
pub fn listen(hosts: &[Host], mut port: u16) -> io::Result<(Vec<TcpListener>, Vec<SocketAddr>)> {
    let mut addresses = Vec::new();
    hosts.iter().for_each(|host| add_new(&mut addresses, host.addresses()));
    let (all, others): (Vec<SocketAddr>, Vec<_>) = addresses.iter().partition(|address| is_all_of_v6(address.ip()));
    let mut listeners: Vec<TcpListener> = Vec::new();
    for mut address in all.iter().chain(&others).copied() {
        address.set_port(port);
        let covered = address.is_ipv4() && !all.is_empty();
        match listen_on(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) if error.kind() == ErrorKind::AddrInUse && covered && all_is_dual()? => {}
            Err(error) => return Err(io::Error::new(error.kind(), CannotListen { address, error })),
        }
        port = listeners[0].local_addr()?.port();
    }
    let mut reachable = Vec::new();
    for address in addresses {
        add_new(&mut reachable, lead_to(address)?);
    }
    reachable.iter_mut().for_each(|address| address.set_port(port));
    Ok((listeners, reachable))
}

/// Listens on the socket that is standard input, and returns the addresses that lead there too. systemd passes other sockets as
/// well, but only standard input can be taken without `unsafe`.
///
/// # Errors
/// Standard input is something else.
pub fn listen_on_stdin() -> io::Result<(Vec<TcpListener>, Vec<SocketAddr>)> {
    let listener = stdin().and_then(listen_with).map_err(|error| {
        io::Error::other(format!("--stdin-socket: standard input is not a TCP socket that can listen: {error}"))
    })?;
    let address = listener.local_addr()?;
    // Finding the addresses takes other sockets, which a hardened service may not be allowed to open.
    let mut reachable = lead_to(address).unwrap_or_else(|_| vec![address]);
    reachable.iter_mut().for_each(|reachable| reachable.set_port(address.port()));
    Ok((vec![listener], reachable))
}

/// A copy of standard input, as a socket, whatever it is.
#[cfg(unix)]
fn stdin() -> io::Result<TcpStream> {
    use std::os::fd::AsFd;
    io::stdin().as_fd().try_clone_to_owned().map(TcpStream::from)
}

#[cfg(not(unix))]
fn stdin() -> io::Result<TcpStream> {
    Err(io::Error::new(ErrorKind::Unsupported, "only Unix supports this"))
}

/// Whether only this machine can connect.
///
/// # Errors
/// A socket has no address, because it has failed.
pub fn are_loopback(listeners: &[TcpListener]) -> io::Result<bool> {
    let addresses: io::Result<Vec<_>> = listeners.iter().map(TcpListener::local_addr).collect();
    Ok(addresses?.iter().all(|address| address.ip().is_loopback()))
}

fn is_all_of_v6(address: IpAddr) -> bool {
    address == Ipv6Addr::UNSPECIFIED
}

/// Whether a socket of `::` takes IPv4 connections too, which is a setting of the system. If so, no IPv4 address can be bound to
/// its port.
fn all_is_dual() -> io::Result<bool> {
    let all = std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    let v4 = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, all.local_addr()?.port()));
    Ok(v4.is_err_and(|error| error.kind() == ErrorKind::AddrInUse))
}

/// The addresses that lead to a listener. For an unspecified address, which no client can connect to from elsewhere, they
/// are the loopback address and the one that this machine has for others.
fn lead_to(address: SocketAddr) -> io::Result<Vec<SocketAddr>> {
    if !address.ip().is_unspecified() {
        return Ok(vec![address]);
    }
    let loopback = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    let mut addresses = vec![with_port_0(loopback)];
    addresses.extend(address_for_others(address.ip()).map(with_port_0));
    if is_all_of_v6(address.ip()) && all_is_dual()? {
        addresses.extend(lead_to((Ipv4Addr::UNSPECIFIED, 0).into())?);
    }
    Ok(addresses)
}

/// This machine's address in the family of an unspecified one: the one that it would send from to an address of documentation
/// (RFC 5737, RFC 3849). Connecting a UDP socket sends nothing. None if there is no route to other machines.
fn address_for_others(unspecified: IpAddr) -> Option<IpAddr> {
    let remote: IpAddr = match unspecified {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    };
    let socket = UdpSocket::bind((unspecified, 0)).ok()?;
    socket.connect((remote, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The URLs of these addresses. Programs read the first one up to the space.
pub fn urls(addresses: &[SocketAddr]) -> String {
    let urls: Vec<_> = addresses.iter().map(|address| format!("http://{address}")).collect();
    urls.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(addresses: &[&str]) -> Host {
        Host(addresses.iter().map(|address| with_port_0(address.parse().expect("an address"))).collect())
    }

    /// This machine has no address of documentation (RFC 5737).
    const ELSEWHERE: &str = "198.51.100.1";

    #[test]
    fn addresses_that_this_machine_does_not_have_are_left_out_if_it_has_another() {
        assert_eq!(host(&[ELSEWHERE, "127.0.0.1"]).addresses(), host(&["127.0.0.1"]).0);
        for nowhere in [host(&[ELSEWHERE]), host(&[ELSEWHERE, "198.51.100.2"])] {
            assert_eq!(nowhere.addresses(), nowhere.0);
        }
    }

    #[tokio::test]
    async fn listeners_are_loopback_if_all_of_them_are() {
        let loopback = |addresses: &[&str]| {
            let (listeners, _) = listen(&[host(addresses)], 0).expect("free ports");
            are_loopback(&listeners).expect("addresses")
        };
        assert!(loopback(&["127.0.0.1"]) && loopback(&["127.0.0.1", "::1"]) && loopback(&["127.0.0.1", ELSEWHERE]));
        assert!(!loopback(&["0.0.0.0"]));
    }

    #[test]
    fn items_are_added_once() {
        let mut items = vec![1];
        add_new(&mut items, [2, 1, 2, 3]);
        assert_eq!(items, [1, 2, 3]);
    }
}
