use super::*;

fn drain(seen: &mut mpsc::Receiver<Seen>) -> (Vec<Arc<Step>>, u64) {
    let (mut steps, mut missed) = (Vec::new(), 0);
    while let Ok(seen) = seen.try_recv() {
        match seen {
            Seen::Step(step) => steps.push(step),
            Seen::Missed(some) => missed += some,
        }
    }
    (steps, missed)
}

#[test]
fn nobody_watching_costs_no_event() {
    let lifecycle = Lifecycle::default();
    assert!(!lifecycle.is_watched());
    lifecycle.accepted(1);
    lifecycle.step(1, || unreachable!());
    lifecycle.frame_step(1, || unreachable!());
    assert!(!lifecycle.takes_frames());
    let _seen = (lifecycle.watch(2), lifecycle.watch(TERMINAL));
    assert!(lifecycle.is_watched());
    assert_eq!(lifecycle.viewers(), 1, "the terminal apart");
    lifecycle.unwatch(2);
    assert!(lifecycle.is_watched(), "the terminal still does");
    assert_eq!(lifecycle.viewers(), 0);
    lifecycle.end();
    lifecycle.step(1, || unreachable!());
}

#[test]
fn a_step_says_whose_it_is_and_counts() {
    let lifecycle = Lifecycle::default();
    let mut seen = lifecycle.watch(9);
    lifecycle.accepted(1);
    lifecycle.named(1, 42);
    lifecycle.joined(1, 1);
    lifecycle.forget(1);
    lifecycle.left(1, 0);
    let (steps, _) = drain(&mut seen);
    let told: Vec<_> = steps.iter().map(|step| (step.id, step.client_id, step.elapsed.is_some())).collect();
    assert_eq!(told, [(1, None, true), (2, Some(42), true), (3, None, false)]);
}

#[test]
fn a_new_watcher_is_told_who_is_there() {
    let lifecycle = Lifecycle::default();
    for connection in 1..=4 {
        lifecycle.accepted(connection);
        lifecycle.named(connection, -7);
    }
    lifecycle.joined(1, 1);
    lifecycle.joined(2, 2);
    lifecycle.joined(3, 3);
    lifecycle.left(2, 2);
    lifecycle.forget(3);
    let (steps, _) = drain(&mut lifecycle.watch(9));
    let told: Vec<_> = steps.iter().map(|step| (step.connection, step.client_id, step.event.clone())).collect();
    assert_eq!(told, [(1, Some(-7), Event::Joined { members: 1 })]);
}

#[test]
fn frames_leave_room_for_the_rest_and_what_is_too_much_is_counted() {
    let lifecycle = Lifecycle::default();
    let mut seen = lifecycle.watch(9);
    let most = u64::from(FRAME_STEPS_PER_SECOND);
    // All of this takes less than a second, or the machine is too slow to be flooded.
    for _ in 0..most + 10 {
        lifecycle.frame_step(1, || Event::Accepted);
    }
    assert!(!lifecycle.takes_frames(), "and that is one more");
    lifecycle.step(1, || Event::Left { members: 0 });
    let (steps, missed) = drain(&mut seen);
    assert_eq!((steps.len() as u64, missed), (most + 1, 11));
    assert_eq!(steps.last().unwrap().event, Event::Left { members: 0 });
    for _ in 0..STEPS_PER_SECOND {
        lifecycle.step(1, || Event::Accepted);
    }
    let (steps, missed) = drain(&mut seen);
    assert_eq!((steps.len() as u64, missed), (u64::from(STEPS_PER_SECOND) - most - 1, 0));
    assert_eq!(lifecycle.take_missed(9), most + 1);
    assert_eq!(lifecycle.take_missed(9), 0, "he has been told");
    // The next second has room again.
    lifecycle.state().second = Some(Instant::now() - Duration::from_secs(1));
    lifecycle.frame_step(1, || Event::Accepted);
    assert_eq!(drain(&mut seen).0.len(), 1);
}

#[test]
fn a_full_queue_takes_no_more_and_its_watcher_is_stuck_until_he_takes_some() {
    let lifecycle = Lifecycle::default();
    let mut seen = lifecycle.watch(9);
    let mut other = lifecycle.watch(10);
    let fill = |steps: usize| {
        for _ in 0..steps {
            lifecycle.state().second = None;
            lifecycle.step(1, || Event::Accepted);
        }
    };
    fill(VIEWER_QUEUE);
    assert_eq!(lifecycle.stuck(9), Some(Duration::ZERO));
    assert_eq!(drain(&mut other).0.len(), VIEWER_QUEUE);
    fill(3);
    lifecycle.state().watchers[0].stuck = Some(Instant::now() - Duration::from_secs(40));
    assert!(lifecycle.stuck(9).unwrap() >= Duration::from_secs(40));
    assert_eq!(drain(&mut other).0.len(), 3, "he is no trouble to the other");
    // One taken is a sign of life, but what he missed comes first.
    seen.try_recv().unwrap();
    assert_eq!(lifecycle.stuck(9), Some(Duration::ZERO), "even if nothing has come since");
    fill(1);
    assert!(lifecycle.stuck(9).unwrap() < Duration::from_secs(40));
    let (steps, missed) = drain(&mut seen);
    assert_eq!((steps.len(), missed), (VIEWER_QUEUE - 1, 3));
    assert_eq!(lifecycle.take_missed(9), 1, "the step behind which there was no room for");
    fill(1);
    assert_eq!(drain(&mut seen).0.len(), 1);
    assert_eq!(lifecycle.stuck(8), None, "nobody");
}

#[test]
fn a_head_shows_the_handshakes_values_and_no_others() {
    let shown = |head: &str| String::from_utf8(visible_head(head.as_bytes())).unwrap();
    let head = "GET /ws/1?a=b?c HTTP/1.1\r\nHOST: h\r\nUpgrade:websocket\r\nCookie: a\r\nX:b\r\nEmpty:\r\n\r\nbody";
    let hidden = "GET /ws/1?... HTTP/1.1\r\nHOST: h\r\nUpgrade:websocket\r\nCookie: ...\r\nX:...\r\nEmpty:\r\n\r\n";
    assert_eq!(shown(head), hidden);
    assert_eq!(shown("GET http://u:p@h/ HTTP/1.1\r\n\r\n"), "GET ... HTTP/1.1\r\n\r\n");
    assert_eq!(shown("CONNECT u:p@h HTTP/1.1\r\n\r\n"), "CONNECT ... HTTP/1.1\r\n\r\n");
    assert_eq!(shown("GET /#a HTTP/1.1\r\n\r\n"), "GET /#... HTTP/1.1\r\n\r\n");
    assert_eq!(shown("GET /?a\r\n\r\n"), "GET /?...\r\n\r\n");
    assert_eq!(shown("GET\r\n\r\n"), "GET\r\n\r\n");
    assert_eq!(shown("HTTP/1.1 404 What?\r\nServer: x\r\n\r\n"), "HTTP/1.1 404 What?\r\nServer: ...\r\n\r\n");
    // Not quite header lines, and a head that is cut off.
    let odd = "GET / HTTP/1.1\r\nHost : a\r\n Host: a\r\n folded\r\n: a\r\nnameless\r\nCookie: a";
    let hidden = "GET / HTTP/1.1\r\nHost : ...\r\n Host: ...\r\n...\r\n: ...\r\n...\r\nCookie: ...";
    assert_eq!(shown(odd), hidden);
}

#[test]
fn every_close_code_of_the_rfc_has_a_meaning() {
    for code in (1000..=1003).chain(1007..=1013).chain([3000, 3999, 4000, 4999]) {
        assert_ne!(meaning(code), "unknown", "{code}");
    }
    assert_eq!([999, 1004, 1005, 1006, 2999, 5000].map(meaning), ["unknown"; 6]);
    let words = |close| Event::Close(Side::Client, close).headline();
    assert_eq!(words(None), "the client closes: without a code");
    assert_eq!(words(Some((1000, "".into()))), "the client closes: 1000 normal closure");
    assert_eq!(words(Some((1001, "a".into()))), "the client closes: 1001 going away, \"a\"");
}
