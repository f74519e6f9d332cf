//! Where the log of a room is: `redis://[USER:PASSWORD@]HOST[:PORT]/ROOM`.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, parse_redis_url};
use std::fmt::{self, Debug, Display, Formatter};
use std::str::FromStr;

/// The longest name of a room, in bytes.
const LONGEST_NAME: usize = 64;

/// A Redis server, and the name of a room in it.
#[derive(Clone)]
pub struct Address {
    pub(super) server: Box<ConnectionInfo>,
    pub(super) room: String,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut url = parse_redis_url(text).ok_or("must be a URL such as redis://127.0.0.1:6379/room")?;
        if !matches!(url.scheme(), "redis" | "rediss") {
            return Err("must begin with redis:// or rediss://".into());
        }
        if url.scheme() == "rediss" && !cfg!(feature = "redis-tls") {
            return Err("this build has no TLS for Redis; build it with `--features redis-tls`".into());
        }
        let room = url.path().trim_start_matches('/').to_owned();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if room.is_empty() || room.len() > LONGEST_NAME || !room.chars().all(is_plain) {
            return Err(format!(
                "must end with the name of a room, such as /room: at most {LONGEST_NAME} letters, digits, -, _ and ."
            ));
        }
        // The crate takes the path for the number of a database.
        url.set_path("");
        let server = url.into_connection_info().map_err(|error| error.to_string())?;
        // In RESP3, some replies are maps.
        let settings = server.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
        let tcp = server.tcp_settings().clone().set_nodelay(true);
        let server = Box::new(server.set_redis_settings(settings).set_tcp_settings(tcp));
        Ok(Self { server, room })
    }
}

/// Without user and password.
impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let scheme = if matches!(self.server.addr(), ConnectionAddr::TcpTls { .. }) { "rediss" } else { "redis" };
        write!(f, "{scheme}://{}/{}", self.server.addr(), self.room)
    }
}

impl Debug for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shown(url: &str) -> Result<String, String> {
        url.parse::<Address>().map(|address| format!("{address} {address:?}"))
    }

    #[test]
    fn address_is_shown_without_user_and_password() {
        let both = |url: &str| format!("{url} Address({url})");
        assert_eq!(shown("redis://127.0.0.1:7000/room"), Ok(both("redis://127.0.0.1:7000/room")));
        assert_eq!(shown("redis://me:secret@localhost/a.b-c_9"), Ok(both("redis://localhost:6379/a.b-c_9")));
    }

    #[test]
    fn address_has_user_and_password() {
        let address: Address = "redis://me:s%20x@[::1]/room".parse().unwrap();
        let settings = address.server.redis_settings();
        assert_eq!((settings.username(), settings.password()), (Some("me"), Some("s x")));
        assert_eq!((settings.db(), address.room.as_str()), (0, "room"));
    }

    #[test]
    fn wrong_addresses_are_explained() {
        let explained = |url: &str, part: &str| {
            let error = url.parse::<Address>().unwrap_err();
            assert!(error.contains(part), "{url}: {error}");
        };
        for url in ["", "room", "127.0.0.1:6379", "http://127.0.0.1/room"] {
            explained(url, "must be a URL such as");
        }
        explained("unix:///run/redis.sock", "must begin with redis://");
        for url in
            ["redis://h", "redis://h/", "redis://h/a/b", "redis://h/{a}", &format!("redis://h/{}", "x".repeat(65))]
        {
            explained(url, "name of a room");
        }
        if !cfg!(feature = "redis-tls") {
            explained("rediss://h/room", "redis-tls");
        }
    }
}
