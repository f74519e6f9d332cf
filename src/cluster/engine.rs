//! The engine: the log of a room in Redis.
//!
//! A log has three kinds of keys: the stream of entries, its head (the place and tag of the last entry), and for each writer the
//! number of its last entry, so that a retry is not appended twice. Only two scripts write them. The braces in the keys keep
//! them together in Redis Cluster.
//!
//! Each command has a deadline of its own: the crate's would end a blocking read. A connection that missed it is given up,
//! because its answer may still come.

use super::address::Address;
use super::chain::{Entry, Head, tag};
use crate::limits::cluster::{CHECK, DEADLINE, ENTRIES_PER_READ, LOG_KEEPS};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, RedisError, Value, cmd, pipe};
use std::fmt::{self, Display, Formatter};
use std::future::Future;
use std::mem::take;
use std::str;
use tokio::time::timeout;

/// Registers a writer. Redis runs a script as one step.
const BEGIN: &str = include_str!("begin.lua");

/// Appends an entry.
const APPEND: &str = include_str!("append.lua");

/// The oldest Redis that has what the script needs: `XADD` with `MINID`.
const OLDEST_VERSION: (u32, u32) = (6, 2);

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Redis answers with an error, or the connection failed.
    Redis(RedisError),
    /// No answer in time.
    NoAnswer,
    /// The server is the replica of another.
    Replica,
    /// It is too old.
    Version(String),
    /// It may drop keys when it is short of memory, by this policy.
    Evicts(String),
    /// The answer is not what the command promises.
    Malformed,
}

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

impl Display for Trouble {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            // On one line: an answer that is not Redis' is quoted in several.
            Self::Redis(error) => {
                write!(f, "{}", error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))?;
                let is_about_password =
                    error.kind() == ErrorKind::AuthenticationFailed || error.code() == Some("NOAUTH");
                f.write_str(if is_about_password { "; the URL is redis://USER:PASSWORD@HOST/ROOM" } else { "" })
            }
            Self::NoAnswer => write!(f, "no answer within {} s", DEADLINE.as_secs()),
            Self::Replica => write!(f, "it is a replica, and a room needs the master"),
            Self::Version(version) => {
                let (major, minor) = OLDEST_VERSION;
                write!(f, "it is version {version}, and a room needs {major}.{minor} or later")
            }
            Self::Evicts(policy) => write!(
                f,
                "its maxmemory-policy is {policy}, which may drop the room's log; run `CONFIG SET maxmemory-policy noeviction`"
            ),
            Self::Malformed => {
                write!(f, "an answer is not understood: is it a Redis server, and are the keys the room's?")
            }
        }
    }
}

/// The access to one room's log.
#[derive(Debug)]
pub(super) struct Engine {
    client: Client,
    log: String,
    head: String,
    writers: String,
}

/// One connection to Redis.
pub(super) struct Connection(MultiplexedConnection);

impl Engine {
    pub(super) fn new(address: &Address) -> Result<Self, Trouble> {
        let keys = format!("switchboard:{{{}}}", address.room);
        Ok(Self {
            client: Client::open(ConnectionInfo::clone(&address.server))?,
            log: format!("{keys}:log"),
            head: format!("{keys}:head"),
            writers: format!("{keys}:writer"),
        })
    }

    /// Connects to a server that is a master.
    pub(super) async fn connect(&self) -> Result<Connection, Trouble> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = Connection(in_time(connecting).await?);
        check_role(&connection.ask(&cmd("ROLE")).await?)?;
        Ok(connection)
    }

    /// Checks that the server is fit for a room.
    pub(super) async fn check_server(&self, connection: &mut Connection) -> Result<(), Trouble> {
        let mut info = String::new();
        for section in ["server", "memory"] {
            let answer = connection.ask(cmd("INFO").arg(section)).await?;
            info += str::from_utf8(&bytes(answer)?).map_err(|_| Trouble::Malformed)?;
        }
        check_info(&info)
    }

    /// Registers a new writer. Returns where the log ends.
    pub(super) async fn begin(&self, connection: &mut Connection, writer: &str) -> Result<Head, Trouble> {
        head(connection.ask(&self.script(BEGIN, writer)).await?)
    }

    /// Appends an entry. Harmless if an earlier attempt has done so.
    pub(super) async fn append(
        &self,
        connection: &mut Connection,
        (writer, number, attempt): (&str, u64, u32),
        frames: &[u8],
    ) -> Result<(), Trouble> {
        let mut script = self.script(APPEND, writer);
        script.arg(number).arg(tag(writer, number, attempt)).arg(LOG_KEEPS).arg(frames);
        connection.ask(&script).await.map(drop)
    }

    /// Reads the entries after a place, or waits for some until it is time to `check`.
    pub(super) async fn read(&self, connection: &mut Connection, place: u64) -> Result<Vec<Entry>, Trouble> {
        let block = u64::try_from(CHECK.as_millis()).expect("a second");
        let mut read = cmd("XREAD");
        read.arg("BLOCK").arg(block).arg("COUNT").arg(ENTRIES_PER_READ);
        entries(connection.ask(self.after(&mut read, place)).await?)
    }

    /// Reads the entries after a place without waiting, and where the log ends at that moment. Redis refuses transactions while
    /// its memory is full, so a room in which nothing can be said does not stay open.
    pub(super) async fn check(&self, connection: &mut Connection, place: u64) -> Result<(Vec<Entry>, Head), Trouble> {
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(ENTRIES_PER_READ);
        let mut commands = pipe();
        commands.atomic().add_command(take(self.after(&mut read, place)));
        commands.cmd("HMGET").arg(&self.head).arg(&["place", "tag"]);
        commands.cmd("ROLE");
        let answers: Vec<Value> = in_time(commands.query_async(&mut connection.0)).await?;
        let [read, end, role] = <[Value; 3]>::try_from(answers).map_err(|_| Trouble::Malformed)?;
        check_role(&role)?;
        Ok((entries(read)?, head(end)?))
    }

    /// A script for the keys of a writer.
    fn script(&self, text: &str, writer: &str) -> Cmd {
        let mut script = cmd("EVAL");
        script.arg(text).arg(3).arg(&self.log).arg(&self.head).arg(format!("{}:{writer}", self.writers));
        script
    }

    fn after<'a>(&self, read: &'a mut Cmd, place: u64) -> &'a mut Cmd {
        read.arg("STREAMS").arg(&self.log).arg(format!("{place}-0"))
    }
}

impl Connection {
    async fn ask(&mut self, command: &Cmd) -> Result<Value, Trouble> {
        in_time(command.query_async(&mut self.0)).await
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, RedisError>>) -> Result<T, Trouble> {
    Ok(timeout(DEADLINE, answer).await.map_err(|_| Trouble::NoAnswer)??)
}

fn check_role(answer: &Value) -> Result<(), Trouble> {
    match answer {
        Value::Array(role) if role.first() == Some(&Value::BulkString(b"master".into())) => Ok(()),
        Value::Array(_) => Err(Trouble::Replica),
        _ => Err(Trouble::Malformed),
    }
}

/// Checks the lines of `INFO`.
fn check_info(info: &str) -> Result<(), Trouble> {
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let version = field("redis_version").ok_or(Trouble::Malformed)?;
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST_VERSION {
        return Err(Trouble::Version(version.into()));
    }
    match field("maxmemory_policy") {
        Some("noeviction") | None => Ok(()),
        Some(policy) => Err(Trouble::Evicts(policy.into())),
    }
}

fn array(value: Value) -> Result<Vec<Value>, Trouble> {
    if let Value::Array(values) = value { Ok(values) } else { Err(Trouble::Malformed) }
}

fn bytes(value: Value) -> Result<Vec<u8>, Trouble> {
    if let Value::BulkString(bytes) = value { Ok(bytes) } else { Err(Trouble::Malformed) }
}

/// A whole number in decimal.
fn place(text: &[u8]) -> Result<u64, Trouble> {
    str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Trouble::Malformed)
}

/// The answer to `HMGET`. A log without entries has no head.
fn head(answer: Value) -> Result<Head, Trouble> {
    match <[Value; 2]>::try_from(array(answer)?) {
        Ok([Value::Nil, Value::Nil]) => Ok(Head::default()),
        Ok([end, tag]) => Ok(Head { place: place(&bytes(end)?)?, tag: bytes(tag)? }),
        Err(_) => Err(Trouble::Malformed),
    }
}

/// The answer to `XREAD` for one stream: nothing, or its key and a list of entries.
fn entries(answer: Value) -> Result<Vec<Entry>, Trouble> {
    if answer == Value::Nil {
        return Ok(Vec::new());
    }
    let stream = array(answer)?.pop().ok_or(Trouble::Malformed)?;
    let list = array(stream)?.pop().ok_or(Trouble::Malformed)?;
    array(list)?.into_iter().map(entry).collect()
}

/// An entry: its ID, and the names and values of its fields. Missing fields are empty: the chain does not continue with those.
fn entry(value: Value) -> Result<Entry, Trouble> {
    let [id, fields] = <[Value; 2]>::try_from(array(value)?).map_err(|_| Trouble::Malformed)?;
    let id = bytes(id)?;
    let end = id.strip_suffix(b"-0").map_or(Ok(0), place)?;
    let mut entry = Entry { head: Head { place: end, tag: Vec::new() }, before: Vec::new(), frames: Vec::new() };
    let mut fields = array(fields)?.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match bytes(name)?.as_slice() {
            b"t" => entry.head.tag = bytes(value)?,
            b"p" => entry.before = bytes(value)?,
            b"b" => entry.frames = bytes(value)?,
            _ => {}
        }
    }
    Ok(entry)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
