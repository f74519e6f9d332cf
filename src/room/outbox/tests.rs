use super::*;
use crate::http::admission::Admission;
use crate::view::audience::tests::Hall;
use crate::view::counters::Count;
use crate::view::record::What;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

fn outbox() -> Outbox {
    let outbox = Outbox::new(View::new(|_, _, _| (), Admission::default()));
    outbox.open();
    outbox
}

fn client(number: u64) -> Arc<Client> {
    Arc::new(Client::new(number, 0))
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn may_speak(outbox: &Outbox, number: u64) -> bool {
    ready(poll_fn(|context| outbox.poll_speak(number, context))).is_some()
}

fn has_returned(outbox: &Outbox, position: u64) -> bool {
    ready(poll_fn(|context| outbox.poll_returned(position, context))).is_some()
}

#[test]
fn batch_has_what_was_said_since_the_last_one() {
    let outbox = outbox();
    assert!(outbox.try_take().is_none());
    assert_eq!((outbox.push(&client(1), b"ab"), outbox.push(&client(2), b"c")), (2, 3));
    let batch = outbox.try_take().unwrap();
    assert_eq!((batch.number, batch.frames.as_slice()), (1, &b"abc"[..]));
    assert!(outbox.try_take().is_none());
    outbox.push(&client(1), b"d");
    let batch = outbox.try_take().unwrap();
    assert_eq!((batch.number, batch.frames.as_slice()), (2, &b"d"[..]));
}

#[test]
fn client_knows_when_its_words_have_come_back() {
    let outbox = outbox();
    let first = outbox.push(&client(1), b"ab");
    outbox.try_take().unwrap();
    let second = outbox.push(&client(2), b"c");
    assert!(!has_returned(&outbox, first));
    assert_eq!((outbox.next_return(), outbox.last_appended()), (1, 0));
    outbox.appended();
    outbox.returned(|| (0, 0));
    assert!(has_returned(&outbox, first) && !has_returned(&outbox, second));
    assert_eq!((outbox.next_return(), outbox.last_appended()), (2, 1));
    outbox.try_take().unwrap();
    outbox.returned(|| (0, 0));
    assert!(has_returned(&outbox, second));
    // It may come back before the engine says that it was appended.
    assert_eq!((outbox.next_return(), outbox.last_appended()), (3, 1));
}

#[test]
fn leaving_client_is_woken_when_its_words_come_back() {
    let (outbox, woken) = (outbox(), Arc::new(Woken::default()));
    let end = outbox.push(&client(1), b"a");
    let waker = Waker::from(Arc::clone(&woken));
    assert!(outbox.poll_returned(end, &mut Context::from_waker(&waker)).is_pending());
    outbox.try_take().unwrap();
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(outbox.poll_returned(end, &mut Context::from_waker(&waker)).is_pending());
    outbox.returned(|| (0, 0));
    assert_eq!(woken.0.load(Ordering::SeqCst), 2);
}

#[test]
fn full_outbox_holds_the_speakers_until_it_is_taken() {
    let outbox = outbox();
    outbox.push(&client(1), &[0; OUTBOX - 1]);
    assert!(!outbox.is_full() && may_speak(&outbox, 1));
    outbox.push(&client(1), &[0]);
    assert!(outbox.is_full() && !may_speak(&outbox, 1) && !may_speak(&outbox, 2));
    outbox.try_take().unwrap();
    assert!(!outbox.is_full() && may_speak(&outbox, 1) && may_speak(&outbox, 2));
    assert!(lock(&outbox.state).held.is_empty());
}

#[test]
fn speakers_go_on_in_the_order_in_which_they_were_held() {
    struct Order(u64, Arc<Mutex<Vec<u64>>>);
    impl Wake for Order {
        fn wake(self: Arc<Self>) {
            lock(&self.1).push(self.0);
        }
    }
    let (outbox, order) = (outbox(), Arc::default());
    let hold = |number| {
        let waker = Waker::from(Arc::new(Order(number, Arc::clone(&order))));
        assert!(outbox.poll_speak(number, &mut Context::from_waker(&waker)).is_pending());
    };
    outbox.push(&client(1), &[0; OUTBOX]);
    [3, 1, 2].into_iter().for_each(hold);
    outbox.try_take().unwrap();
    assert_eq!(*lock(&order), [3, 1, 2]);
    // The first one fills it again. The others are still before it.
    assert!(may_speak(&outbox, 3));
    outbox.push(&client(3), &[0; OUTBOX]);
    [3, 1, 2].into_iter().for_each(hold);
    lock(&order).clear();
    outbox.try_take().unwrap();
    assert_eq!(*lock(&order), [1, 2, 3]);
    // A client that is gone is not woken.
    outbox.push(&client(3), &[0; OUTBOX]);
    [1, 2].into_iter().for_each(hold);
    outbox.forget(1);
    lock(&order).clear();
    outbox.close();
    assert_eq!(*lock(&order), [2, 3]);
}

#[test]
fn closed_outbox_drops_what_is_said_and_holds_nobody() {
    let outbox = outbox();
    outbox.push(&client(1), &[0; OUTBOX]);
    outbox.try_take().unwrap();
    let end = outbox.push(&client(1), &[0; OUTBOX]);
    assert!(outbox.is_full() && !may_speak(&outbox, 1) && !has_returned(&outbox, end));
    outbox.close();
    assert!(!outbox.is_open() && may_speak(&outbox, 1) && has_returned(&outbox, end));
    let end = outbox.push(&client(1), b"late");
    assert!(has_returned(&outbox, end) && outbox.try_take().is_none());
    // Batches are counted anew.
    outbox.open();
    let end = outbox.push(&client(1), b"new");
    assert!(!has_returned(&outbox, end));
    assert_eq!((outbox.next_return(), outbox.last_appended()), (1, 0));
    assert_eq!(outbox.try_take().unwrap().number, 1);
}

#[test]
fn viewer_sees_when_words_were_appended_and_when_they_came_back() {
    let mut hall = Hall::new();
    let outbox = Outbox::new(hall.view.clone());
    outbox.open();
    outbox.push(&client(1), b"unwatched");
    let mut watch = hall.watch();
    hall.told();
    outbox.push(&client(1), b"ab");
    outbox.push(&client(2), b"c");
    outbox.try_take().unwrap();
    outbox.appended();
    outbox.returned(|| (7, 3));
    // The next one comes back before the engine says that it was appended.
    outbox.push(&client(1), b"d");
    outbox.try_take().unwrap();
    outbox.returned(|| (7, 3));
    outbox.appended();
    let told: Vec<_> = hall
        .told()
        .into_iter()
        .map(|what| match what {
            What::Appended { bytes, .. } => format!("appended {bytes}"),
            What::Broadcast { bytes, members, behind, after: Some(_) } => format!("back {bytes} {members} {behind}"),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["appended 2", "appended 1", "back 2 7 3", "back 1 7 3", "back 1 7 3"]);
    assert!(watch.shown.try_recv().is_err());
}

#[test]
fn entries_and_their_round_trips_are_counted() {
    let outbox = outbox();
    let counts = || [&outbox.counters().appends, &outbox.counters().returns].map(Count::get);
    outbox.push(&client(1), b"a");
    let said = Instant::now();
    outbox.push(&client(2), b"b");
    outbox.try_take().unwrap();
    assert_eq!(counts(), [0, 0]);
    outbox.appended();
    assert_eq!(counts(), [1, 0]);
    let least = said.elapsed();
    outbox.returned(|| (0, 0));
    assert_eq!(counts(), [1, 1]);
    let first = Duration::from_nanos(outbox.counters().round_trips.get());
    assert!(first >= least, "{first:?} since the first message, {least:?} since the second");
    outbox.push(&client(1), b"c");
    outbox.try_take().unwrap();
    outbox.returned(|| (0, 0));
    assert_eq!(counts(), [1, 2]);
    assert!(Duration::from_nanos(outbox.counters().round_trips.get()) > first);
    // An entry that never comes back does not count.
    outbox.push(&client(1), b"d");
    outbox.try_take().unwrap();
    outbox.close();
    outbox.returned(|| (0, 0));
    assert_eq!(counts(), [1, 2]);
}

#[test]
fn holds_are_counted_while_they_last_and_however_they_end() {
    let outbox = outbox();
    outbox.push(&client(1), &[0; OUTBOX]);
    assert_eq!(outbox.held(), (0, Duration::ZERO));
    let begun = Instant::now();
    assert!([1, 2, 3].iter().all(|number| !may_speak(&outbox, *number)));
    let (speakers, mut before) = outbox.held();
    assert!(speakers == 3 && before > Duration::ZERO, "{before:?}");
    // All time counts: that of those who are held, and that of those who no longer are.
    let ends: [fn(&Outbox); 3] = [
        |outbox| outbox.forget(1),
        |outbox| assert!(outbox.try_take().is_some() && may_speak(outbox, 2)),
        Outbox::close,
    ];
    for (end, left) in ends.iter().zip([2, 1, 0]) {
        end(&outbox);
        let (speakers, waited) = outbox.held();
        assert!(speakers == left && waited > before && waited <= 3 * begun.elapsed(), "{waited:?} {before:?}");
        before = waited;
    }
    assert_eq!(outbox.held(), (0, before));
    // Nobody is held any more, so only the sum is left.
    outbox.open();
    outbox.push(&client(1), &[0; OUTBOX]);
    assert!(!may_speak(&outbox, 1));
    outbox.forget(1);
    let (speakers, waited) = outbox.held();
    assert!(speakers == 0 && waited > before, "{waited:?} {before:?}");
}
