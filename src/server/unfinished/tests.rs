use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;
use std::thread;
use std::time::Duration;

/// A bound of this number of bytes.
fn bound(most: u64) -> Arc<UnfinishedMessages> {
    Arc::new(UnfinishedMessages { most, list: Mutex::default() })
}

/// The number of messages that are not given up, and their bytes.
fn counted(all: &UnfinishedMessages) -> (usize, u64) {
    let list = all.list();
    let bytes = list.messages.values().map(|message| message.bytes).sum();
    let bytes_given_up = list.given_up.values().sum::<u64>();
    assert_eq!((list.bytes, list.bytes_given_up), (bytes + bytes_given_up, bytes_given_up));
    (list.messages.len(), bytes)
}

/// Whether this thread may read.
fn has_room(all: &UnfinishedMessages) -> bool {
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(Arc::clone(&woken));
    let room = all.poll_room(&mut Context::from_waker(&waker)).is_ready();
    // A task that may not read is asked again.
    assert_eq!(woken.0.load(Ordering::SeqCst), usize::from(!room));
    room
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A connection, seen from here.
struct Connection {
    all: Arc<UnfinishedMessages>,
    number: u64,
    start: Instant,
    share: Share,
    woken: Arc<Woken>,
}

impl Connection {
    /// Connections with the numbers 0, 1, 2 and so on.
    fn several<const N: usize>(all: &Arc<UnfinishedMessages>) -> [Self; N] {
        let start = Instant::now();
        let mut number = 0..;
        [(); N].map(|()| Self {
            all: Arc::clone(all),
            number: number.next().unwrap(),
            start,
            share: Share::default(),
            woken: Arc::default(),
        })
    }

    /// Reads, and has a message then that began in this second.
    fn has(&mut self, second: u64, bytes: u64) {
        let began = self.start + Duration::from_secs(second);
        self.share.count(&self.all, self.number, Some((began, bytes)));
    }

    /// Reads the rest of its message.
    fn finishes(&mut self) {
        self.share.count(&self.all, self.number, None);
    }

    /// Asks whether its message is given up, and is woken from now on.
    fn is_given_up(&self) -> bool {
        let waker = Waker::from(Arc::clone(&self.woken));
        self.share.poll_given_up(&mut Context::from_waker(&waker)).is_ready()
    }

    fn woken(&self) -> usize {
        self.woken.0.load(Ordering::SeqCst)
    }
}

#[test]
fn at_the_bound_nothing_is_given_up_and_one_byte_beyond_the_oldest() {
    let all = bound(100);
    let [mut first, mut second] = Connection::several(&all);
    first.has(1, 50);
    second.has(2, 50);
    assert_eq!([first.is_given_up(), second.is_given_up()], [false, false]);
    assert_eq!(counted(&all), (2, 100));
    second.has(2, 51);
    assert_eq!([first.is_given_up(), second.is_given_up()], [true, false]);
    assert_eq!([first.woken(), second.woken()], [1, 0]);
    assert_eq!(counted(&all), (1, 51));
}

#[test]
fn the_oldest_is_the_one_that_began_first_whoever_counted_last() {
    let all = bound(100);
    let [mut late, mut early, mut last] = Connection::several(&all);
    late.has(2, 30);
    early.has(1, 30);
    late.has(2, 40);
    early.has(1, 40);
    last.has(3, 40);
    assert_eq!([&late, &early, &last].map(Connection::is_given_up), [false, true, false]);
}

#[test]
fn as_many_are_given_up_as_it_takes() {
    let all = bound(100);
    let mut connections = Connection::several::<5>(&all);
    for (connection, second) in connections.iter_mut().zip(1..) {
        connection.has(second, 25);
    }
    assert!(connections[0].is_given_up());
    connections[4].has(5, 51);
    let given_up = connections.each_ref().map(Connection::is_given_up);
    assert_eq!(given_up, [true, true, true, false, false]);
    assert_eq!(counted(&all), (2, 76));
}

#[test]
fn the_oldest_may_be_the_one_that_grew() {
    let all = bound(100);
    let [mut first, mut second] = Connection::several(&all);
    first.has(1, 60);
    second.has(2, 40);
    first.has(1, 61);
    assert_eq!([first.is_given_up(), second.is_given_up()], [true, false]);
}

#[test]
fn a_message_in_its_place_is_a_younger_one() {
    let all = bound(100);
    let [mut first, mut second] = Connection::several(&all);
    first.has(1, 50);
    second.has(2, 50);
    assert!(!first.is_given_up() && !second.is_given_up());
    // In one read, the message ends and another begins.
    first.has(3, 1);
    assert_eq!(counted(&all), (2, 51));
    first.has(3, 51);
    assert_eq!([first.is_given_up(), second.is_given_up()], [false, true]);
    // The waker is still that of before.
    second.finishes();
    second.has(4, 50);
    assert_eq!((first.is_given_up(), first.woken()), (true, 1));
}

#[test]
fn finishing_and_ending_give_the_share_back() {
    let all = bound(100);
    let [mut finishes, mut ends, mut panics, mut stays] = Connection::several(&all);
    for connection in [&mut finishes, &mut ends, &mut panics, &mut stays] {
        connection.has(1, 25);
    }
    assert_eq!(counted(&all), (4, 100));
    finishes.finishes();
    assert_eq!(counted(&all), (3, 75));
    drop(ends);
    assert_eq!(counted(&all), (2, 50));
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        let _panics = panics;
        panic!("a bug");
    }));
    assert!(panicked.is_err());
    assert_eq!(counted(&all), (1, 25));
    assert!(!stays.is_given_up());
}

#[test]
fn a_panic_under_the_lock_is_not_the_end() {
    let all = bound(100);
    let held = catch_unwind(AssertUnwindSafe(|| {
        let _list = all.list();
        panic!("a bug");
    }));
    assert!(held.is_err());
    let [mut connection] = Connection::several(&all);
    connection.has(1, 10);
    assert_eq!(counted(&all), (1, 10));
}

#[test]
fn a_thread_beyond_the_bound_reads_nothing_until_what_is_given_up_is_gone() {
    let all = bound(100);
    let [mut first, mut second, mut third, mut fourth] = Connection::several(&all);
    assert!(has_room(&all));
    first.has(1, 50);
    second.has(2, 50);
    assert!(has_room(&all));
    third.has(3, 40);
    assert!(!has_room(&all));
    assert!(first.is_given_up() && !second.is_given_up());
    // It is still in memory, and that gives up no other.
    fourth.has(4, 10);
    assert!(!second.is_given_up());
    assert!(!has_room(&all));
    // Another thread has not gone beyond the bound.
    assert!(thread::scope(|scope| scope.spawn(|| has_room(&all)).join().unwrap()));
    first.finishes();
    assert!(has_room(&all));
    assert_eq!(counted(&all), (3, 100));
}

#[test]
fn given_up_is_final_unless_the_message_was_finished() {
    let all = bound(100);
    let [mut first, mut second] = Connection::several(&all);
    first.has(1, 60);
    second.has(2, 60);
    first.has(1, 70);
    assert!(first.is_given_up());
    assert_eq!(counted(&all), (1, 60));
    // Its last bytes were read before it could be told.
    first.finishes();
    assert!(!first.is_given_up());
    first.has(3, 40);
    assert!(!first.is_given_up());
    assert_eq!(counted(&all), (2, 100));
}

#[test]
fn a_connection_without_an_unfinished_message_takes_no_part() {
    let all = bound(0);
    let [mut connection] = Connection::several(&all);
    let list = all.list();
    // The list is locked, so this would wait if it took part.
    connection.finishes();
    assert!(!connection.is_given_up());
    drop(list);
    assert_eq!(size_of::<Share>(), size_of::<usize>());
}

#[test]
fn several_threads_stay_within_the_bound_and_give_all_back() {
    const THREADS: usize = 4;
    const ROUNDS: u64 = 2000;
    let all = bound(100);
    let connections: [Connection; THREADS] = Connection::several(&all);
    thread::scope(|scope| {
        for mut connection in connections {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    // Alone, none is beyond the bound.
                    for bytes in [10, 60, 100] {
                        connection.has(round, bytes);
                        assert!(counted(&connection.all).1 <= 100);
                        has_room(&connection.all);
                        connection.is_given_up();
                    }
                    connection.finishes();
                }
            });
        }
    });
    assert_eq!(counted(&all), (0, 0));
}
