//! A tiny chat server on plain sockets and threads, correct or with one classic mistake.

use crate::tiny_handshake::{Request, accept, page, switching_protocols};
use crate::tiny_rules::{close_code, is_wrong};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use test_client::frame::{CLOSE, CONTINUATION, FIN, Frame, PING, PONG, TEXT, close_payload, encode, from_server};

/// What is special about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trait {
    /// Nothing.
    Correct,
    /// Correct, but does what few servers do: Pings of its own, fragments, other names and statuses, an empty Close.
    Unusual,
    // The mistakes, in the order of the stages.
    Silent,
    HangsUp,
    Rubbish,
    BareLines,
    NoPage,
    PageAsText,
    EndlessPage,
    UpgradesPlainRequest,
    Http10,
    DecodedKey,
    FixedAccept,
    HexDigest,
    NoUpgradeField,
    OffersExtension,
    CaseSensitiveNames,
    ConnectionBySubstring,
    ConnectionAsWhole,
    NoPrefix,
    Masked,
    NotUnmasked,
    EchoesMasked,
    CountsCharacters,
    TextWithoutFrame,
    ReadsLittleEndian,
    WritesLittleEndian,
    LosesPieces,
    RestartsMask,
    LosesSecondFrame,
    LosesEarlyFrame,
    BroadcastsFragments,
    EmptyPong,
    NoCloseReply,
    KeepsTcpOpen,
    SpeaksAfterClose,
    NoErrorCode,
    UncheckedUtf8,
    OnlyToSender,
    OwnFirst,
    KeepsTheDead,
    KeyedById,
    Blocking,
}

use Trait::*;

/// The bytes before the payload of a short frame: FIN and opcode, MASK and length, masking key.
const SHORT_HEADER: usize = 6;

type Queue = Sender<Vec<u8>>;

struct Member {
    number: u64,
    id: String,
    queue: Queue,
    /// For a server that writes to all sockets itself.
    socket: TcpStream,
}

struct Shared {
    kind: Trait,
    members: Mutex<Vec<Member>>,
    numbers: AtomicU64,
    /// What [`OwnFirst`] holds back.
    held: Mutex<Vec<(Queue, Vec<u8>)>>,
}

/// Starts a server, which runs until the process ends.
pub fn start(kind: Trait) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let shared =
        Arc::new(Shared { kind, members: Mutex::default(), numbers: AtomicU64::new(0), held: Mutex::default() });
    thread::spawn(move || {
        for socket in listener.incoming() {
            let (socket, shared) = (socket.unwrap(), Arc::clone(&shared));
            // An error is the end of a connection.
            thread::spawn(move || drop(shared.serve(socket)));
        }
    });
    address
}

/// Input, as it arrives.
struct Input {
    socket: TcpStream,
    bytes: Vec<u8>,
    /// Where in `bytes` each read began.
    reads: Vec<usize>,
}

impl Input {
    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = vec![0; 64 * 1024];
        let length = self.socket.read(&mut chunk)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.reads.push(self.bytes.len());
        self.bytes.extend(&chunk[..length]);
        Ok(())
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        self.reads.iter_mut().for_each(|read| *read = read.saturating_sub(length));
        self.bytes.drain(..length).collect()
    }

    fn head(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                return Ok(String::from_utf8_lossy(&self.take(end + 4)).into_owned());
            }
            self.fill()?;
        }
    }
}

impl Shared {
    fn serve(&self, mut socket: TcpStream) -> io::Result<()> {
        let mut input = Input { socket: socket.try_clone()?, bytes: Vec::new(), reads: Vec::new() };
        match self.kind {
            HangsUp => return Ok(()),
            Silent => loop {
                input.fill()?;
            },
            _ => {}
        }
        let request = Request::parse(&input.head()?, self.kind);
        if request.path == "/" {
            return socket.write_all(page(self.kind).as_bytes()).and_then(|()| self.stay(&mut input));
        }
        let Some(key) = request.key(self.kind) else {
            let status = if self.kind == Unusual { "403 Forbidden" } else { "400 Bad Request" };
            return socket.write_all(format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n").as_bytes());
        };
        let id = request.path.trim_start_matches("/ws/").to_owned();
        let (number, queue) = self.join(&mut socket, id.clone(), &accept(key, self.kind))?;
        if self.kind == LosesEarlyFrame {
            input.bytes.clear();
        }
        let ended = self.chat(&mut input, &id, &queue);
        let died = ended.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::InvalidData);
        if !died || self.kind != KeepsTheDead {
            self.members.lock().unwrap().retain(|member| member.number != number);
        }
        if ended.is_ok() && self.kind == KeepsTcpOpen {
            return self.stay(&mut input);
        }
        ended
    }

    /// Keeps the connection open until the client closes it, unless the page ends with it.
    fn stay(&self, input: &mut Input) -> io::Result<()> {
        loop {
            input.fill()?;
        }
    }

    /// Answers with the 101, and adds a member. A thread of its own writes what is queued for it, and closes TCP when nobody
    /// can queue any more.
    fn join(&self, socket: &mut TcpStream, id: String, accept: &str) -> io::Result<(u64, Queue)> {
        socket.write_all(switching_protocols(accept, self.kind).as_bytes())?;
        let (queue, queued) = mpsc::channel();
        let writer = socket.try_clone()?;
        thread::spawn(move || write(writer, &queued));
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let mut members = self.members.lock().unwrap();
        if self.kind == KeyedById && members.iter().any(|member| member.id == id) {
            return Ok((number, queue));
        }
        members.push(Member { number, id, queue: queue.clone(), socket: socket.try_clone()? });
        Ok((number, queue))
    }

    /// Reads frames until the connection ends. Returns after the closing handshake, or an error if there is none.
    fn chat(&self, input: &mut Input, id: &str, queue: &Queue) -> io::Result<()> {
        let mut message: Option<Vec<u8>> = None;
        loop {
            let frame = self.frame(input)?;
            if is_wrong(&frame, message.is_some()) {
                return self.fail(queue, 1002);
            }
            match frame.first & 0x0f {
                PING if self.kind == EmptyPong => self.reply(queue, FIN | PONG, b""),
                PING => self.reply(queue, FIN | PONG, &frame.payload),
                PONG => {}
                CLOSE => return self.close(queue, &frame),
                _ => {
                    let mut text = message.take().unwrap_or_default();
                    text.extend(&frame.payload);
                    if frame.first & FIN == 0 && self.kind != BroadcastsFragments {
                        message = Some(text);
                    } else if !matches!(self.kind, UncheckedUtf8 | EchoesMasked | RestartsMask)
                        && str::from_utf8(&text).is_err()
                    {
                        return self.fail(queue, 1007);
                    } else {
                        self.broadcast(id, &text, queue)?;
                        message = (frame.first & FIN == 0).then(Vec::new);
                    }
                }
            }
        }
    }

    fn reply(&self, queue: &Queue, first: u8, payload: &[u8]) {
        // An error means that the connection is gone.
        let _ = queue.send(from_server(first, payload));
    }

    fn fail(&self, queue: &Queue, code: u16) -> io::Result<()> {
        if self.kind != NoErrorCode {
            self.reply(queue, FIN | CLOSE, &close_payload(code, ""));
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    fn close(&self, queue: &Queue, frame: &Frame) -> io::Result<()> {
        match (close_code(frame), self.kind) {
            (Err(code), _) => return self.fail(queue, code),
            (Ok(_), NoCloseReply) => {}
            (Ok(Some(code)), kind) if kind != Unusual => self.reply(queue, FIN | CLOSE, &close_payload(code, "")),
            _ => self.reply(queue, FIN | CLOSE, b""),
        }
        if self.kind == SpeaksAfterClose {
            self.reply(queue, FIN | TEXT, b"Goodbye");
        }
        Ok(())
    }

    /// Reads a frame.
    fn frame(&self, input: &mut Input) -> io::Result<Frame> {
        loop {
            let mut bytes = input.bytes.clone();
            if self.kind == ReadsLittleEndian && bytes.len() > 3 && bytes[1] & 0x7f == 126 {
                bytes.swap(2, 3);
            }
            if let Some((frame, length)) = Frame::parse(&bytes) {
                let frame = self.spoil(frame, &bytes[..length], &input.reads);
                input.take(length);
                if self.kind == LosesSecondFrame {
                    input.bytes.clear();
                }
                input.reads.clear();
                return Ok(frame);
            }
            input.fill()?;
            if self.kind == LosesPieces && input.bytes.len() < SHORT_HEADER {
                // It takes these bytes for a whole header.
                input.bytes.clear();
            }
        }
    }

    fn spoil(&self, mut frame: Frame, bytes: &[u8], reads: &[usize]) -> Frame {
        let start = bytes.len() - frame.payload.len();
        match self.kind {
            NotUnmasked | EchoesMasked => frame.payload = bytes[start..].to_vec(),
            // Long frames may take several reads even if they are sent at once: those are another stage's.
            RestartsMask if frame.masked && frame.payload.len() < 126 => {
                let key = &bytes[start - 4..start];
                for index in start..bytes.len() {
                    let read = reads.iter().rev().find(|read| **read <= index).map_or(start, |read| start.max(*read));
                    frame.payload[index - start] = bytes[index] ^ key[(index - read) % 4];
                }
            }
            _ => {}
        }
        frame
    }

    fn broadcast(&self, id: &str, text: &[u8], own: &Queue) -> io::Result<()> {
        let prefix = if self.kind == NoPrefix { String::new() } else { format!("Client #{id} says: ") };
        let frames = self.frames(&[prefix.as_bytes(), text].concat());
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        let mut members = self.members.lock().unwrap();
        match self.kind {
            OnlyToSender => return own.send(frames).map_err(gone),
            OwnFirst if text.starts_with(b"burst") => {
                own.send(frames.clone()).map_err(gone)?;
                self.hold(&members, id, &frames);
            }
            Blocking => members.iter_mut().for_each(|member| drop(member.socket.write_all(&frames))),
            // The first member that is gone ends the broadcast, and the speaker with it.
            KeepsTheDead => members.iter().try_for_each(|member| member.queue.send(frames.clone()).map_err(gone))?,
            _ => members.iter().for_each(|member| drop(member.queue.send(frames.clone()))),
        }
        Ok(())
    }

    /// Holds the messages of two bursts back, and sends them at the end of both.
    fn hold(&self, members: &[Member], speaker: &str, frames: &[u8]) {
        const TWO_BURSTS: usize = 40;
        let mut held = self.held.lock().unwrap();
        let others = members.iter().filter(|member| member.id != speaker);
        held.extend(others.map(|member| (member.queue.clone(), frames.to_vec())));
        if held.len() == TWO_BURSTS {
            held.drain(..).for_each(|(queue, frames)| drop(queue.send(frames)));
        }
    }

    /// The frames of a text.
    fn frames(&self, text: &[u8]) -> Vec<u8> {
        let mut frame = from_server(FIN | TEXT, text);
        match self.kind {
            Masked => encode(FIN | TEXT, Some([1, 2, 3, 4]), text.len() as u64, text),
            TextWithoutFrame => text.to_vec(),
            CountsCharacters => {
                let characters = String::from_utf8_lossy(text).chars().count();
                [from_server(FIN | TEXT, &text[..characters]), text[characters..].to_vec()].concat()
            }
            WritesLittleEndian => {
                if frame[1] == 126 {
                    frame.swap(2, 3);
                }
                frame
            }
            Unusual => {
                let (start, rest) = text.split_at(text.len() / 2);
                let parts =
                    [(PING | FIN, &b"there?"[..]), (TEXT, start), (FIN | PONG, b""), (FIN | CONTINUATION, rest)];
                parts.iter().flat_map(|(first, payload)| from_server(*first, payload)).collect()
            }
            _ => frame,
        }
    }
}

fn write(mut socket: TcpStream, queued: &Receiver<Vec<u8>>) {
    for bytes in queued {
        if socket.write_all(&bytes).is_err() {
            break;
        }
    }
    // It may be closed already.
    let _ = socket.shutdown(Shutdown::Both);
}
