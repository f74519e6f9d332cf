//! A viewer that is slow, or gone, costs nobody anything.

use crate::steps::watched;
use crate::support::DEADLINE;
use crate::support::frame::says;
use crate::viewer::Viewer;
use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};
use switchboard::limits::{EXCHANGE_DEADLINE, FRAME_STEPS_PER_SECOND};

/// More messages than a second has steps for.
const FLOOD: usize = 2 * FRAME_STEPS_PER_SECOND as usize;

#[test]
fn a_flood_is_delivered_and_its_viewer_told_what_it_missed() {
    let server = watched();
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
    while ends < 2 {
        let event = viewer.raw();
        match event.strip_prefix("event: missed\ndata: at least ") {
            Some(rest) => missed += rest.split(' ').next().unwrap().parse::<usize>().unwrap(),
            None => steps += 1,
        }
        // The end of a connection is no frame, so there is room for it.
        ends += usize::from(event.contains("\ndata: step: life\n"));
    }
    assert!(missed > 0, "{steps} steps and none missed");
    // A frame in and a frame out to each of two, for each message; and what comes with it.
    assert!(steps < 5 * FLOOD, "{steps}");
}

#[test]
fn a_viewer_that_goes_away_in_a_flood_harms_nobody() {
    let server = watched();
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
#[ignore = "waits more than a minute: the viewer's queue has to fill, and the deadline to pass"]
fn a_viewer_that_never_reads_is_dropped_and_the_chat_goes_on() {
    let server = watched();
    let mut viewer = Viewer::request(server.address);
    let mut one = server.join(1);
    let payload = "x".repeat(48);
    let start = Instant::now();
    // At the most it fills for as long as two deadlines, for one is looked at when the other has passed.
    while start.elapsed() < 3 * EXCHANGE_DEADLINE {
        one.send_text(&payload);
        one.expect(&says(1, &payload));
    }
    // What had been written before it was dropped is still there, and then the end.
    let read = Instant::now();
    let mut buffer = 0;
    while viewer.client.try_read().is_ok() && read.elapsed() < DEADLINE {
        match viewer.client.socket().read(&mut [0; 65536]).unwrap_or(0) {
            0 => return,
            some => buffer += some,
        }
    }
    assert!(read.elapsed() < DEADLINE + Duration::from_secs(1), "it still gets events, after {buffer} bytes");
}
