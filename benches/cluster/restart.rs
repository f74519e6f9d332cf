//! A restart of Redis under load: SIGKILL, a second of absence, and a start with the same data.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::fleet::{Fleet, SETTLE};
use crate::measure::{Figures, Schedule};
use crate::options::Options;
use crate::room::Room;

/// Messages per second in total.
const RATE: usize = 200;
const CLIENTS: usize = 8;
const SENDERS: usize = 4;

/// Time under load before Redis is killed.
const BEFORE: Duration = Duration::from_secs(1);
const ABSENCE: Duration = Duration::from_secs(1);
/// How long to wait for messages after Redis' return.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time under load once messages arrive again.
const AFTER: Duration = Duration::from_secs(1);
/// Time without load at the end, for messages that are on their way and for a late Close.
const LINGER: Duration = Duration::from_secs(2);

const REOPEN_PERIOD: Duration = Duration::from_millis(100);
const REOPEN_DEADLINE: Duration = Duration::from_millis(300);

pub fn description() -> String {
    format!(
        "{SENDERS} of {CLIENTS} clients send {RATE} messages/s in total; SIGKILL for Redis, and a start {ABSENCE:?} later"
    )
}

pub fn run(room: &mut Room, _: &Options) -> io::Result<Figures> {
    let mut fleet = Fleet::connect(room, CLIENTS, SENDERS)?;
    let mut schedule = Schedule::start(&mut fleet, RATE)?;
    schedule.run(&mut fleet, BEFORE, &mut |_| {})?;
    room.kill_redis();
    schedule.run(&mut fleet, ABSENCE, &mut |_| {})?;
    room.restart_redis()?;
    while !room.is_redis_ready() {
        schedule.turn(&mut fleet, &mut |_| {})?;
    }
    let recovery = wait_for_recovery(&mut fleet, &mut schedule, room.nodes.len())?;
    schedule.run(&mut fleet, AFTER, &mut |_| {})?;
    fleet.listen(LINGER, &mut |_| {})?;

    let count = |of: fn(&Client) -> u64| fleet.clients.iter().map(of).sum::<u64>();
    let repeated = count(|client| client.tally.repeated);
    let out_of_order = count(|client| client.tally.out_of_order);
    let disconnected = count(|client| client.closed.len().min(1) as u64);
    let lost = lost_silently(&fleet);
    let code = fleet.clients.iter().flat_map(|client| &client.closed).flatten().next();
    let counts = [fleet.sent().iter().sum(), lost, repeated, out_of_order, disconnected].map(|count| count as f64);
    let values = [&counts[..], &[code.map_or(f64::NAN, |&code| code.into()), recovery]].concat();
    Ok(Figures { values, one_order: fleet.is_one_order(), wrong: lost + repeated + out_of_order })
}

/// Returns the time from now, when Redis is back, until every client has received a message from each node that was sent
/// since, in seconds; not a number if that takes too long. Clients that were disconnected connect again, as a page would.
fn wait_for_recovery(fleet: &mut Fleet, schedule: &mut Schedule, nodes: usize) -> io::Result<f64> {
    let back = Instant::now();
    let mut next_reopening = back;
    let mut received_from = vec![BTreeSet::new(); CLIENTS];
    while back.elapsed() < PATIENCE {
        if Instant::now() >= next_reopening {
            fleet.reopen(REOPEN_DEADLINE);
            next_reopening = Instant::now() + REOPEN_PERIOD;
        }
        schedule.turn(fleet, &mut |arrival| {
            if arrival.due > back {
                received_from[arrival.client].insert(arrival.sender % nodes);
            }
        })?;
        if received_from.iter().all(|from| from.len() == nodes) && fleet.check_open().is_ok() {
            return Ok(back.elapsed().as_secs_f64());
        }
    }
    Ok(f64::NAN)
}

/// Counts the messages that were lost without telling. A client is *owed* a message if it was connected when the message was due,
/// and ever since. A message is lost if a client doesn't have it that is owed it, although its sender was not disconnected
/// since, or another client has it.
fn lost_silently(fleet: &Fleet) -> u64 {
    let is_lost = |sender: usize, sequence: usize| {
        let due = fleet.due[sender][sequence];
        let stayed =
            |client: &Client| client.open_since.is_some_and(|since| since + SETTLE < due || client.closed.is_empty());
        let has = |client: &Client| client.tally.has(sender, sequence as u64);
        let clients = &fleet.clients;
        clients.iter().any(|client| stayed(client) && !has(client))
            && (stayed(&clients[sender]) || clients.iter().any(has))
    };
    let lost_of = |sender: usize| (0..fleet.due[sender].len()).filter(|&sequence| is_lost(sender, sequence)).count();
    (0..SENDERS).map(lost_of).sum::<usize>() as u64
}
