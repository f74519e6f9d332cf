//! The messages as bytes: what clients send, and what servers must send to every client.
//!
//! A text is a sequence number of 10 digits and padding, 100 bytes in total. Client IDs have two digits, so all messages of a
//! server have the same length. A message is compared with its sender's template; only the sequence number may differ.

use test_client::frame::{self, CLOSE, FIN, Frame, PING, PONG, TEXT};

/// The IDs of the clients count from here, and end at 99.
pub const FIRST_ID: usize = 10;

const TEXT_BYTES: usize = 100;
const SEQUENCE_DIGITS: usize = 10;
const ID_DIGITS: usize = 2;

/// What a server speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Text frames on `/ws/{id}`.
    WebSocket,
    /// Socket.IO 5 in Engine.IO 4. An event is the text frame `42["message","TEXT"]`.
    SocketIo,
}

/// Something that a server sent.
pub enum Incoming {
    Message {
        sender: usize,
        sequence: u64,
    },
    /// A ping, with the frame that answers it.
    Ping(Vec<u8>),
    Close(Option<u16>),
    Unexpected,
}

impl Protocol {
    pub fn path(self, client: usize) -> String {
        let id = FIRST_ID + client;
        match self {
            Protocol::WebSocket => format!("/ws/{id}"),
            Protocol::SocketIo => format!("/socket.io/?EIO=4&transport=websocket&id={id}"),
        }
    }

    /// The start and the end of a payload, around the text.
    fn around_text(self) -> (&'static str, &'static str) {
        match self {
            Protocol::WebSocket => ("", ""),
            Protocol::SocketIo => (r#"42["message",""#, r#""]"#),
        }
    }
}

/// The messages of all senders of a measurement.
pub struct Wire {
    protocol: Protocol,
    templates: Vec<Template>,
}

/// One sender's message number 0.
struct Template {
    sent: Vec<u8>,
    received: Vec<u8>,
}

impl Wire {
    pub fn new(protocol: Protocol, senders: usize) -> Self {
        let text = format!("{:.<TEXT_BYTES$}", "0".repeat(SEQUENCE_DIGITS));
        let (start, end) = protocol.around_text();
        let template = |sender| {
            let says = frame::says_prefix((FIRST_ID + sender) as i64);
            Template {
                sent: frame::text(&format!("{start}{text}{end}")),
                received: frame::from_server(FIN | TEXT, format!("{start}{says}{text}{end}").as_bytes()),
            }
        };
        Self { protocol, templates: (0..senders).map(template).collect() }
    }

    /// The place of the sequence number in a frame of this length.
    fn digits(&self, frame_bytes: usize) -> usize {
        frame_bytes - self.protocol.around_text().1.len() - TEXT_BYTES
    }

    /// Appends one message as its sender's frame.
    pub fn append(&self, out: &mut Vec<u8>, sender: usize, sequence: u64) {
        out.extend_from_slice(&self.templates[sender].sent);
        let digits = self.digits(out.len());
        let mut rest = sequence;
        for byte in out[digits..digits + SEQUENCE_DIGITS].iter_mut().rev() {
            // The template has a masked '0' here. '0' ^ n is the digit n, and masking is an XOR too.
            *byte ^= (rest % 10) as u8;
            rest /= 10;
        }
    }

    /// Decodes the frame at the start of `bytes`. Returns it with its length, or `None` if it is incomplete.
    pub fn first_of(&self, bytes: &[u8]) -> Option<(Incoming, usize)> {
        let length = self.templates[0].received.len();
        if let Some(message) = bytes.get(..length).and_then(|frame| self.message(frame)) {
            return Some((message, length));
        }
        let (frame, length) = Frame::parse(bytes)?;
        let incoming = match self.protocol {
            _ if frame.is(CLOSE) => Incoming::Close(frame.close_code()),
            _ if frame.is(PING) => Incoming::Ping(frame::from_client(FIN | PONG, &frame.payload)),
            // Engine.IO's own ping and pong.
            Protocol::SocketIo if frame.payload == b"2" => Incoming::Ping(frame::text("3")),
            _ => Incoming::Unexpected,
        };
        Some((incoming, length))
    }

    fn message(&self, frame: &[u8]) -> Option<Incoming> {
        let digits = self.digits(frame.len());
        let rest = digits + SEQUENCE_DIGITS;
        let id = digits - " says: ".len() - ID_DIGITS;
        let sender = (number(&frame[id..id + ID_DIGITS])? as usize).checked_sub(FIRST_ID)?;
        let expected = &self.templates.get(sender)?.received;
        let matches = frame[..digits] == expected[..digits] && frame[rest..] == expected[rest..];
        let sequence = number(&frame[digits..rest])?;
        matches.then_some(Incoming::Message { sender, sequence })
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))
}

/// Bench targets without a test harness have no unit tests, so this runs before each benchmark.
pub fn self_check() {
    for (protocol, start, end) in [(Protocol::WebSocket, "", ""), (Protocol::SocketIo, "42[\"message\",\"", "\"]")] {
        let wire = Wire::new(protocol, 2);
        let text = format!("0000000042{}", ".".repeat(90));
        let mut frame = Vec::new();
        wire.append(&mut frame, 1, 42);
        assert_eq!(frame, frame::text(&format!("{start}{text}{end}")), "what a client sends");

        let mut frame = frame::from_server(0x81, format!("{start}Client #11 says: {text}{end}").as_bytes());
        let decoded = |bytes: &[u8]| wire.first_of(bytes).map(|(incoming, _)| incoming);
        assert!(matches!(decoded(&frame), Some(Incoming::Message { sender: 1, sequence: 42 })), "what a server sends");
        assert!(decoded(&frame[..frame.len() - 1]).is_none(), "an incomplete frame");
        let changed = frame.len() - 3;
        frame[changed] = b',';
        assert!(matches!(decoded(&frame), Some(Incoming::Unexpected)), "a changed message");
    }
}
