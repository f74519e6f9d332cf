//! RESP, the protocol of Redis: commands as bytes, and replies.

use std::io::{self, BufRead, ErrorKind};

/// A reply. A command has the form of one too: an array of bulk strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Nil,
    Integer(i64),
    /// A simple string, or a bulk string.
    Bytes(Vec<u8>),
    Error(String),
    Array(Vec<Reply>),
}

impl Reply {
    /// Text, for a reply that is a string.
    #[track_caller]
    pub fn text(&self) -> &str {
        str::from_utf8(self.bytes()).unwrap()
    }

    #[track_caller]
    pub fn bytes(&self) -> &[u8] {
        let Self::Bytes(bytes) = self else { panic!("not a string: {self:?}") };
        bytes
    }

    #[track_caller]
    pub fn array(&self) -> &[Self] {
        let Self::Array(replies) = self else { panic!("not an array: {self:?}") };
        replies
    }

    /// Reads a reply.
    pub fn read(input: &mut impl BufRead) -> io::Result<Self> {
        let line = read_line(input)?;
        let (kind, rest) = line.split_at_checked(1).ok_or(ErrorKind::InvalidData)?;
        Ok(match kind {
            "+" => Self::Bytes(rest.into()),
            "-" => Self::Error(rest.into()),
            ":" => Self::Integer(number(rest)?),
            "$" => match usize::try_from(number(rest)?) {
                Ok(length) => Self::Bytes(read_bulk(input, length)?),
                Err(_) => Self::Nil,
            },
            "*" => match usize::try_from(number(rest)?) {
                Ok(length) => Self::Array((0..length).map(|_| Self::read(input)).collect::<io::Result<_>>()?),
                Err(_) => Self::Nil,
            },
            _ => return Err(ErrorKind::InvalidData.into()),
        })
    }
}

fn read_line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    line.strip_suffix("\r\n").map(Into::into).ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

fn number(text: &str) -> io::Result<i64> {
    text.parse().map_err(|_| ErrorKind::InvalidData.into())
}

fn read_bulk(input: &mut impl BufRead, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length + b"\r\n".len()];
    input.read_exact(&mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}

/// A command as bytes.
pub fn command(arguments: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments.iter().map(AsRef::as_ref) {
        bytes.extend(format!("${}\r\n", argument.len()).bytes());
        bytes.extend(argument);
        bytes.extend(b"\r\n");
    }
    bytes
}

#[test]
fn replies_are_read() {
    let text = |text: &str| Reply::Bytes(text.into());
    let input = &mut &b"+OK\r\n-ERR no\r\n:-3\r\n$-1\r\n*-1\r\n*2\r\n$2\r\na\r\r\n*0\r\n$5"[..];
    for reply in [text("OK"), Reply::Error("ERR no".into()), Reply::Integer(-3), Reply::Nil, Reply::Nil] {
        assert_eq!(Reply::read(input).unwrap(), reply);
    }
    assert_eq!(Reply::read(input).unwrap(), Reply::Array(vec![text("a\r"), Reply::Array(vec![])]));
    assert_eq!(Reply::read(input).unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn command_is_an_array() {
    let bytes = command(&["SET", "a\r", ""]);
    assert_eq!(bytes, b"*3\r\n$3\r\nSET\r\n$2\r\na\r\r\n$0\r\n\r\n");
    let parts = ["SET", "a\r", ""].map(|part| Reply::Bytes(part.into()));
    assert_eq!(Reply::read(&mut &*bytes).unwrap(), Reply::Array(parts.into()));
}
