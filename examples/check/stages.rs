//! The stages, in the order in which one builds a server. Each stands for itself, and assumes that those before it pass.

mod ends;
mod frames;
mod handshake;
mod room;

use super::checker::{Checker, Failure};

pub struct Stage {
    pub name: &'static str,
    /// The sections that define what is checked.
    pub rfc: &'static str,
    /// What a pass proves.
    pub proves: &'static str,
    /// What to think about if no exact hint fits.
    pub hint: &'static str,
    pub run: fn(&mut Checker) -> Result<(), Failure>,
}

pub const STAGES: [Stage; 16] = [
    Stage {
        name: "the page",
        rfc: "RFC 9110 8.3, RFC 9112 6.3",
        proves: "A browser that opens the address gets an HTML page, and knows where it ends.",
        hint: "What does a browser need to know about a body: its type, and where it ends?",
        run: handshake::page,
    },
    Stage {
        name: "a plain request",
        rfc: "RFC 6455 4.2.1, 4.2.2",
        proves: "A request that doesn't ask for a WebSocket is refused with an HTTP error.",
        hint: "Which header fields make a request an opening handshake, and what if they are missing?",
        run: handshake::plain_request,
    },
    Stage {
        name: "the accept value",
        rfc: "RFC 6455 4.2.2, item 5.4; example in 1.3",
        proves: "The server computes Sec-WebSocket-Accept from each client's key.",
        hint: "Compute the example of RFC 6455 1.3 step by step: what is joined, what is hashed, what is encoded?",
        run: handshake::accept_value,
    },
    Stage {
        name: "the response's fields",
        rfc: "RFC 6455 4.2.2, item 5",
        proves: "A browser accepts the 101, since it checks each of these header fields.",
        hint: "RFC 6455 4.1 lists what a client checks in the response. Go through the list.",
        run: handshake::response_fields,
    },
    Stage {
        name: "the request's fields",
        rfc: "RFC 6455 4.2.1; RFC 9110 5.1, 7.6.1",
        proves: "The server reads header fields as HTTP defines them, and refuses a broken handshake.",
        hint: "How are header names compared, and what separates the items of a list?",
        run: handshake::request_fields,
    },
    Stage {
        name: "a text frame",
        rfc: "RFC 6455 5.2, 5.3, 5.1",
        proves: "The server unmasks a text frame, and answers with an unmasked frame in UTF-8.",
        hint: "Read the frame below row by row, as the server must. What should it do with each field?",
        run: frames::text,
    },
    Stage {
        name: "payload lengths",
        rfc: "RFC 6455 5.2",
        proves: "The server reads and writes lengths of 7, 16 and 64 bits.",
        hint: "A length has three forms. Which values of the 7 bits announce the other two?",
        run: frames::lengths,
    },
    Stage {
        name: "bytes one by one",
        rfc: "RFC 6455 5.2, 5.3; RFC 9112 2.2",
        proves: "It doesn't matter how TCP cuts requests and frames into pieces.",
        hint: "One read may return any part of a frame, even one byte. Where is it kept until the rest arrives?",
        run: frames::one_by_one,
    },
    Stage {
        name: "two in one packet",
        rfc: "RFC 6455 5.2, 4.1",
        proves: "One read may bring several frames, or a frame right behind the handshake.",
        hint: "One read may return more than one frame. What happens to the bytes after the first?",
        run: frames::one_packet,
    },
    Stage {
        name: "fragments",
        rfc: "RFC 6455 5.4, 5.5",
        proves: "Fragments become one message, even with a Ping between them.",
        hint: "When is a message complete, and what may arrive before it is?",
        run: frames::fragments,
    },
    Stage {
        name: "Ping and Pong",
        rfc: "RFC 6455 5.5.2, 5.5.3",
        proves: "The server answers each Ping, and isn't confused by a Pong.",
        hint: "What does RFC 6455 5.5.2 ask of the endpoint that receives a Ping?",
        run: frames::ping,
    },
    Stage {
        name: "the closing handshake",
        rfc: "RFC 6455 5.5.1, 7.1.1",
        proves: "Both sides know that the connection ended as meant.",
        hint: "A Close goes in both directions, once each. After both, one side closes TCP first. Which one?",
        run: ends::close,
    },
    Stage {
        name: "protocol errors",
        rfc: "RFC 6455 7.1.7, 7.4.1",
        proves: "A client that breaks the rules is told which kind of rule, and is disconnected.",
        hint: "What does RFC 6455 7.1.7 ask of an endpoint that fails the connection?",
        run: ends::errors,
    },
    Stage {
        name: "two clients",
        rfc: "RFC 6455 6.1, 6.2",
        proves: "Everyone receives every message, in one order.",
        hint: "Who is in the list when a message arrives, and who may write to a connection at the same time?",
        run: room::two_clients,
    },
    Stage {
        name: "clients that vanish",
        rfc: "RFC 6455 7.1.5, 7.1.6",
        proves: "A client that dies without a Close is disconnected, and harms nobody.",
        hint: "What does your broadcast do if one of its writes fails? Who leaves the list then, and who doesn't?",
        run: room::vanish,
    },
    Stage {
        name: "a client that doesn't read",
        rfc: "RFC 6455 10.4; TCP flow control, RFC 9293 3.8.6",
        proves: "A slow client delays nobody.",
        hint: "How long does a write take if the other side doesn't read? Who waits for it, and what are they holding?",
        run: room::slow_reader,
    },
];
