//! `GET /metrics`: the numbers of the server, for Prometheus.
//!
//! Most counters come from [`Counters`]. Gauges and the other counters are read from the rest of the server. Each help text says
//! exactly what is counted.

use super::counters::{Counters, FIRST_OF_APPLICATIONS};
use super::exposition::{Exposition, Type, seconds};
use crate::room::outbox::Outbox;
use crate::server::shared::Shared;
use std::time::Duration;

/// The metrics of a server now.
pub fn metrics(server: &Shared) -> String {
    let mut text = Exposition::default();
    let counters = server.view.counters();
    connections(&mut text, server, counters);
    messages(&mut text, server, counters);
    ends(&mut text, counters);
    speakers(&mut text, server);
    left_out(&mut text, server, counters);
    if let Some(outbox) = server.room.outbox() {
        redis(&mut text, outbox, counters);
    }
    text.into_text()
}

fn connections(text: &mut Exposition, server: &Shared, counters: &Counters) {
    text.gauge("connections", "TCP connections that are open, this request's included.", server.all_connections());
    text.counter("connections_accepted_total", "TCP connections that were accepted.", server.accepted());
    let help = "Requests for a WebSocket: those to its paths, and those that ask for an upgrade elsewhere. \
        By the status of the response: 101 is accepted, all others are refused.";
    let mut samples = text.family("handshakes_total", Type::Counter, help);
    for (status, count) in counters.handshakes.get() {
        samples.add(&[("status", &status.to_string())], count);
    }
    text.gauge("members", "Connections in the room of this server.", server.room.members());
}

fn messages(text: &mut Exposition, server: &Shared, counters: &Counters) {
    let help = "Whole messages received and accepted, in the chat and the echo.";
    text.counter("messages_received_total", help, counters.total(|traffic| &traffic.messages_in));
    let help = "Bytes of frames read from WebSocket connections until their closing handshake is done.";
    text.counter("received_bytes_total", help, counters.total(|traffic| &traffic.bytes_in));
    let help = "Bytes of frames written to WebSocket connections.";
    text.counter("sent_bytes_total", help, counters.total(|traffic| &traffic.bytes_out));
    let help = "Messages broadcast, each times the members of this server at that moment.";
    text.counter("deliveries_total", help, counters.total(|traffic| &traffic.deliveries));
    let help = "Bytes of messages that are kept for members that are behind: once for all members of a thread.";
    text.gauge("backlog_bytes", help, server.room.backlog());
}

fn ends(text: &mut Exposition, counters: &Counters) {
    let help = "WebSocket connections that ended with a Close frame, by the side that sent the first one and by its code. \
        1005 is a Close without a code, 3000-4999 all codes of applications.";
    let mut samples = text.family("closes_total", Type::Counter, help);
    for ((by, code), count) in counters.closes.get() {
        let code = if code == FIRST_OF_APPLICATIONS { "3000-4999".into() } else { code.to_string() };
        samples.add(&[("by", by), ("code", &code)], count);
    }
    let help = "WebSocket connections that ended before a closing handshake began, by the reason.";
    let mut samples = text.family("ends_without_close_total", Type::Counter, help);
    for (reason, count) in counters.ends.get() {
        samples.add(&[("reason", reason)], count);
    }
    let help = "Clients that were cut off because they were more than --max-backlog bytes behind.";
    text.counter("clients_too_slow_total", help, counters.too_slow.get());
}

fn speakers(text: &mut Exposition, server: &Shared) {
    let mut waits = vec![("pace", server.room.paced())];
    waits.extend(server.room.outbox().map(|outbox| ("outbox", outbox.held())));
    let help =
        "Clients that have more to say and are not read, by the reason: the pace, or with --redis a full outbox.";
    let mut samples = text.family("speakers_waiting", Type::Gauge, help);
    for (reason, (speakers, _)) in &waits {
        samples.add(&[("reason", reason)], speakers);
    }
    let help = "Seconds that clients were not read for this reason, all together, those that still wait included.";
    let mut samples = text.family("speakers_waited_seconds_total", Type::Counter, help);
    for (reason, (_, waited)) in &waits {
        samples.add(&[("reason", reason)], seconds(*waited));
    }
}

fn left_out(text: &mut Exposition, server: &Shared, counters: &Counters) {
    let help = "Lines left out of the log, by the reason: too many of a kind in a second, or nobody reads the log.";
    text.family("log_lines_left_out_total", Type::Counter, help)
        .add(&[("reason", "rate")], server.log.left_out())
        .add(&[("reason", "unread")], server.unread_lines.get());
    let help = "Steps that /lifecycle and --explain did not show, by the reason: too many in a second, counted once for all \
        viewers; or a viewer reads too slowly, counted for each.";
    text.family("steps_left_out_total", Type::Counter, help)
        .add(&[("reason", "rate")], server.view.missed())
        .add(&[("reason", "unread")], counters.unseen_steps.get());
}

fn redis(text: &mut Exposition, outbox: &Outbox, counters: &Counters) {
    let help =
        "Whether the room is open: 1, or 0 after a gap or --redis-patience closed it, until Redis answers again.";
    text.gauge("redis_room_open", help, outbox.is_open().into());
    text.counter("redis_appends_total", "Entries that this server appended to the room's log.", counters.appends.get());
    let help = "From the moment when the first message of an entry was said until the entry was back from Redis.";
    let sum = Duration::from_nanos(counters.round_trips.get());
    text.family("redis_round_trip_seconds", Type::Summary, help).add_summary(sum, counters.returns.get());
    let help = "Gaps in the room's log, each of which closed the connections of all members with 1012, by their kind.";
    let mut samples = text.family("redis_gaps_total", Type::Counter, help);
    for (kind, count) in counters.gaps.get() {
        samples.add(&[("kind", kind)], count);
    }
    let help =
        "Times in which Redis failed, by what failed and was tried again. One failure of Redis may count for each.";
    let mut samples = text.family("redis_outages_total", Type::Counter, help);
    for (kind, count) in counters.outages.get() {
        samples.add(&[("kind", kind)], count);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::http::admission::Admission;
    use crate::server::shared::Options;
    use crate::view::hooks::View;

    fn server(options: &Options) -> Shared {
        Shared::new(options, View::new(|_, _, _| (), Admission::default()))
    }

    /// The samples, without what all their names begin with.
    fn samples(server: &Shared) -> Vec<String> {
        let text = metrics(server);
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples.map(|line| line.strip_prefix("switchboard_").unwrap().to_owned()).collect()
    }

    /// Those that the tests with sockets can't cause, or not in known numbers.
    #[test]
    fn each_sample_has_its_own_count() {
        let server = server(&Options::default());
        let counters = server.view.counters();
        server.unread_lines.add(1);
        server.view.miss(2);
        counters.unseen_steps.add(3);
        counters.too_slow.add(4);
        counters.closes.add(("client", FIRST_OF_APPLICATIONS));
        counters.closes.add(("server", 1011));
        let samples = samples(&server);
        for sample in [
            r#"log_lines_left_out_total{reason="unread"} 1"#,
            r#"steps_left_out_total{reason="rate"} 2"#,
            r#"steps_left_out_total{reason="unread"} 3"#,
            "clients_too_slow_total 4",
            r#"closes_total{by="client",code="3000-4999"} 1"#,
            r#"closes_total{by="server",code="1011"} 1"#,
        ] {
            assert!(samples.iter().any(|line| line == sample), "{sample} is not in {samples:#?}");
        }
    }

    #[cfg(feature = "redis")]
    #[test]
    fn room_on_several_servers_has_more_samples() {
        let server = server(&Options { redis: Some("redis://127.0.0.1/room".parse().unwrap()), ..Options::default() });
        let counters = server.view.counters();
        let more = || -> Vec<_> {
            samples(&server).into_iter().filter(|line| line.contains("redis_") || line.contains("outbox")).collect()
        };
        assert!(more().contains(&"redis_room_open 0".into()));
        server.room.outbox().unwrap().open();
        counters.appends.add(2);
        counters.returned(Duration::from_millis(1250));
        counters.gaps.add("lost");
        counters.outages.add("reading");
        let expected = [
            r#"speakers_waiting{reason="outbox"} 0"#,
            r#"speakers_waited_seconds_total{reason="outbox"} 0.000000000"#,
            "redis_room_open 1",
            "redis_appends_total 2",
            "redis_round_trip_seconds_sum 1.250000000",
            "redis_round_trip_seconds_count 1",
            r#"redis_gaps_total{kind="foreign"} 0"#,
            r#"redis_gaps_total{kind="lost"} 1"#,
            r#"redis_gaps_total{kind="missing"} 0"#,
            r#"redis_gaps_total{kind="own_lost"} 0"#,
            r#"redis_outages_total{kind="appending"} 0"#,
            r#"redis_outages_total{kind="finding_end"} 0"#,
            r#"redis_outages_total{kind="reading"} 1"#,
        ];
        assert_eq!(more(), expected);
    }
}
