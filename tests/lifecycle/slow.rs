//! A viewer that is slow or gone has no effect on anyone else.

use crate::viewer::Viewer;
use std::thread;
use std::time::{Duration, Instant};
use test_client::DEADLINE;
use test_client::frame::{says, text};
use test_client::server::limits::{FRAME_STEPS_PER_SECOND, Limits, RESPONSE_DEADLINE, SHOWN_WAIT};
use test_client::server::{Options, Server, lifecycle};

/// More messages than the steps shown per second.
const FLOOD: usize = 2 * FRAME_STEPS_PER_SECOND as usize;

#[test]
fn flood_is_delivered_and_missed_steps_are_counted() {
    let server = Server::start(lifecycle());
    let mut viewer = Viewer::request(server.address);
    viewer.read_greeting();
    let (mut one, mut two) = (server.join(1), server.join(2));
    thread::scope(|scope| {
        let mut writer = one.second();
        scope.spawn(move || (0..FLOOD).for_each(|number| writer.send_text(&number.to_string())));
        for client in [&mut one, &mut two] {
            scope.spawn(move || (0..FLOOD).for_each(|number| client.expect(&says(1, &number.to_string()))));
        }
    });
    drop((one, two));
    let (mut steps, mut missed, mut ends) = (0, 0, 0);
    // What was missed is reported within a second, perhaps after the ends.
    while ends < 2 || missed == 0 {
        let event = viewer.raw();
        match event.strip_prefix("event: missed\ndata: at least ") {
            Some(rest) => missed += rest.split(' ').next().unwrap().parse::<usize>().unwrap(),
            None => steps += 1,
        }
        // The end of a connection isn't a frame, so its step is never left out.
        ends += usize::from(event.contains("\ndata: step: life\n"));
    }
    // Each message has one frame in, two frames out, and a broadcast.
    assert!(steps < 5 * FLOOD, "{steps}");
}

#[test]
fn speaker_that_waits_for_a_slow_reader_is_shown() {
    let limits = Limits { pace: 100_000, ping_interval: None, ..Limits::default() };
    let server = Server::start(Options { limits, ..lifecycle() });
    let mut viewer = Viewer::open(server.address);
    let _reads_nothing = server.join(1);
    let mut speaker = server.join(2);
    let start = Instant::now();
    let (mut writer, mut reader) = (speaker.second(), speaker.second());
    // This ends with the connection.
    thread::spawn(move || while writer.try_send(text(&"x".repeat(60_000)), DEADLINE).is_ok() {});
    thread::spawn(move || reader.read_to_end());
    let mut waited = Duration::ZERO;
    for _ in 0..4 {
        let step = loop {
            let event = viewer.next();
            if event.starts_with("loop #3 Client #2 waited: ") {
                break event;
            }
        };
        let (_, rest) = step.split_once(": speaks faster than the room can take: not read for ").unwrap();
        let (time, rest) = rest.split_once(" ms (RFC 9293 3.8.6) [milliseconds: ").unwrap();
        assert_eq!(rest, "...]");
        let time = Duration::from_millis(time.parse().unwrap());
        assert!(time >= SHOWN_WAIT, "{step}");
        waited += time;
    }
    // Each step counts from the one before.
    assert!(waited <= start.elapsed(), "{waited:?} in {:?}", start.elapsed());
    speaker.try_finish().unwrap();
}

#[test]
fn viewer_that_leaves_in_a_flood() {
    let server = Server::start(lifecycle());
    let mut one = server.join(1);
    for number in 0..20 {
        let viewer = Viewer::request(server.address);
        for message in 0..50 {
            one.send_text(&format!("{number} {message}"));
            one.expect(&says(1, &format!("{number} {message}")));
        }
        if number % 2 == 0 { viewer.client.reset() } else { drop(viewer) }
    }
}

#[test]
#[ignore = "takes more than a minute: the viewer's queue fills, then the deadline passes"]
fn viewer_that_never_reads_is_dropped() {
    let server = Server::start(lifecycle());
    let mut viewer = Viewer::request(server.address);
    let mut one = server.join(1);
    let payload = "x".repeat(48);
    let start = Instant::now();
    // The queue fills for at most two deadlines: one is checked when the other has passed.
    while start.elapsed() < 3 * RESPONSE_DEADLINE {
        one.send_text(&payload);
        one.expect(&says(1, &payload));
    }
    // What was written before the drop arrives, then the end of the stream.
    assert!(viewer.client.try_end(DEADLINE).is_some(), "the viewer is still connected");
}
