//! The list of `examples/chaos`, most of it at once, against the answers that this server must give.

use crate::faults::neighbours::Neighbours;
use crate::faults::{Fault, all};
use crate::server::Server;
use std::sync::Arc;
use std::time::Duration;
use switchboard::limits::Limits;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Faults whose answer takes longer are for those who have the time.
const QUICK: Duration = Duration::from_secs(10);

fn limits() -> Limits {
    Limits { ping_interval: Some(Duration::from_secs(1)), max_backlog: 4 << 20, ..Limits::default() }
}

/// Acts faults out, the quiet ones together. Each gets its answer, and the neighbours notice none of them.
async fn act_out(which: impl Fn(&Fault, Duration) -> bool) {
    let server = Server::start(limits());
    let stage = server.stage();
    let neighbours = Neighbours::start(&stage).await.unwrap();
    let turn = Arc::new(Semaphore::new(1));
    let mut acts = JoinSet::new();
    let faults: Vec<Fault> = all().into_iter().filter(|fault| which(fault, fault.time(&stage))).collect();
    for fault in faults {
        let (stage, turn) = (stage.clone(), Arc::clone(&turn));
        acts.spawn(async move {
            let _turn = if fault.floods { turn.acquire().await.ok() } else { None };
            (fault.act(&stage).await, fault, stage)
        });
    }
    let mut wrong = Vec::new();
    for (answer, fault, stage) in acts.join_all().await {
        match answer {
            Ok(answer) if fault.expects(&answer, &stage) => {}
            Ok(answer) => {
                wrong.push(format!("{}: {answer}, after {:?}; expected: {}", fault.name, answer.took, fault.expected))
            }
            Err(error) => wrong.push(format!("{}: {error}", fault.name)),
        }
    }
    let losses = neighbours.finish().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(losses.unharmed(), "the neighbours lost something: {losses}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_gets_its_answer_and_no_neighbour_notices() {
    act_out(|fault, time| !fault.floods && time <= QUICK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flood_gets_its_answer_and_no_neighbour_notices() {
    act_out(|fault, _| fault.floods).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half a minute"]
async fn every_slow_fault_gets_its_answer_and_no_neighbour_notices() {
    act_out(|_, time| time > QUICK).await;
}

#[test]
fn no_two_faults_have_the_same_name() {
    let mut names: Vec<_> = all().iter().map(|fault| fault.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
