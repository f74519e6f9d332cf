//! The faults of `examples/chaos`, most of them at the same time, and the answers that this server must give.

use std::sync::Arc;
use std::time::Duration;
use test_client::faults::{Fault, all};
use test_client::neighbours::Neighbours;
use test_client::server::{Limits, Server, limits_with, loopback_only};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;

/// The tests here run one after the other: a client that is to keep up beside a flood needs its share of the processor.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Faults with a slower answer are in the ignored test.
const QUICK: Duration = Duration::from_secs(10);

fn limits() -> Limits {
    limits_with(Duration::from_secs(1), 4 << 20)
}

/// Causes faults, at the same time unless they flood. Each gets its answer, and the neighbours notice none of them.
async fn cause(which: impl Fn(&Fault, Duration) -> bool) {
    let _alone = ALONE.lock().await;
    #[cfg(unix)]
    // If the limit can't be raised, the faults with many clients fail with an error.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let server = Server::start(loopback_only(limits()));
    let target = server.target();
    let neighbours = Neighbours::start(&target).await.unwrap();
    let turn = Arc::new(Semaphore::new(1));
    let mut acts = JoinSet::new();
    let faults: Vec<Fault> = all().into_iter().filter(|fault| which(fault, fault.time(&target))).collect();
    for fault in faults {
        let (target, turn) = (target.clone(), Arc::clone(&turn));
        acts.spawn(async move {
            let _turn = if fault.floods { turn.acquire().await.ok() } else { None };
            (fault.act(&target).await, fault, target)
        });
    }
    let mut wrong = Vec::new();
    for (answer, fault, target) in acts.join_all().await {
        match answer {
            Ok(answer) if fault.expects(&answer, &target) => {}
            Ok(answer) => {
                wrong.push(format!("{}: {answer}, after {:?}; expected: {}", fault.name, answer.took, fault.expected));
            }
            Err(error) => wrong.push(format!("{}: {error}", fault.name)),
        }
    }
    let losses = neighbours.finish().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(losses.unharmed(), "the neighbours lost something: {losses}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quick_faults() {
    cause(|fault, time| !fault.floods && time <= QUICK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods() {
    cause(|fault, _| fault.floods).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half a minute"]
async fn slow_faults() {
    cause(|_, time| time > QUICK).await;
}

#[test]
fn names_are_unique() {
    let mut names: Vec<_> = all().iter().map(|fault| fault.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
