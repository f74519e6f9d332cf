use super::member::Cut;
use super::pace::Waiting;
use super::*;
use crate::frame::{Failure, encode, length_on_wire};
use crate::http::admission::Admission;
use crate::limits::cluster::OUTBOX;
use crate::limits::{PACE_STEP, PATIENCE};
use crate::protocol::output::Output;
use crate::view::audience::tests::Hall;
use crate::view::record::{Start, What};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tungstenite::protocol::frame::coding::{CloseCode, Data};

const FAR: usize = 16 * 1024 * 1024;

/// More bytes than the two sockets of [`pair`] hold together.
const HUGE: usize = 200_000;

/// Awaits, with a deadline that is far off.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    let deadline = Duration::from_secs(10);
    timeout(deadline, future).await.expect("it is done in time")
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}

fn new_room(parts: usize, max_backlog: usize) -> Arc<Room> {
    let limits = Limits { max_backlog, ..Limits::default() };
    Room::new(parts, &limits, None, View::new(|_, _, _| (), Admission::default()))
}

fn join(room: &Arc<Room>, part: usize, number: u64) -> Member {
    room.join(&Arc::new(Client::new(number, part))).unwrap()
}

fn text(payload: impl AsRef<[u8]>) -> Vec<u8> {
    let mut frame = Vec::new();
    encode(Data::Text, &[payload.as_ref()], &mut frame);
    frame
}

fn pong(payload: u8) -> Vec<u8> {
    vec![0x8a, 1, payload]
}

/// Two ends of a connection with small buffers.
async fn pair() -> (OwnedWriteHalf, TcpStream) {
    let (server, client) = (TcpSocket::new_v4().unwrap(), TcpSocket::new_v4().unwrap());
    server.set_send_buffer_size(16 * 1024).unwrap();
    client.set_recv_buffer_size(16 * 1024).unwrap();
    server.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = server.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let (accepted, client) = tokio::join!(listener.accept(), client.connect(address));
    (accepted.unwrap().0.into_split().1, client.unwrap())
}

/// A member, its frames, and the client at the other end.
struct Seat {
    member: Member,
    own: Output,
    client: TcpStream,
}

impl Seat {
    async fn take(room: &Arc<Room>, part: usize, number: u64) -> Self {
        Self::open(join(room, part, number)).await
    }

    async fn open(member: Member) -> Self {
        let (writer, client) = soon(pair()).await;
        member.open(writer);
        Self { member, own: Output::new(), client }
    }

    /// One poll of the member's task.
    async fn poll(&mut self) -> Poll<Result<(), Cut>> {
        poll_fn(|context| Poll::Ready(self.member.poll_send(context, &mut self.own))).await
    }

    /// The member's task, up to the point where it has nothing left to do.
    async fn catch_up(&mut self) -> Result<(), Cut> {
        soon(poll_fn(|context| self.member.poll_send(context, &mut self.own))).await
    }

    /// The client reads `length` bytes, while the member's task goes on.
    async fn hear(&mut self, length: usize) -> Vec<u8> {
        let mut heard = vec![0; length];
        let sending = poll_fn(|context| {
            if let Poll::Ready(Err(cut)) = self.member.poll_send(context, &mut self.own) {
                panic!("{cut:?}");
            }
            Poll::<()>::Pending
        });
        let reading = async {
            tokio::select! {
                _ = self.client.read_exact(&mut heard) => {}
                () = sending => {}
            }
        };
        soon(reading).await;
        heard
    }

    /// Leaves as a connection does: the rest of the frame that was begun, its own frames, the end. Returns what the
    /// client has still to read.
    async fn leave(self) -> Vec<u8> {
        let Self { member, mut own, mut client } = self;
        let mut last = member.leave();
        last.append(std::mem::take(&mut own));
        let mut heard = Vec::new();
        let writing = async {
            while let Err(cut) = poll_fn(|context| member.poll_send(context, &mut last)).await {
                assert!(matches!(cut, Cut::TooSlow(_)), "{cut:?}");
                let mut rest = member.leave();
                rest.append(std::mem::take(&mut last));
                last = rest;
            }
            poll_fn(|context| member.poll_shutdown(context)).await.unwrap();
        };
        let ((), read) = soon(async { tokio::join!(writing, client.read_to_end(&mut heard)) }).await;
        read.unwrap();
        heard
    }

    /// How many bytes the member has yet to get.
    fn behind(&self) -> u64 {
        let list = self.member.list();
        list.members[&self.member.client.number].behind(&list.log)
    }
}

fn deliveries(room: &Room) -> u64 {
    room.view.counters().total(|traffic| &traffic.deliveries)
}

/// Says a frame in the room, and takes the turn.
fn say(room: &Room, frame: &[u8]) {
    room.speak(frame);
    (0..room.parts.len()).for_each(|part| room.turn(part));
}

fn log_length(room: &Room) -> usize {
    let length = |part: &Part| lock(&part.list).log.bytes.len();
    room.parts.iter().map(length).sum()
}

/// The frames of a stream; the last one must be whole.
fn frames(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while !stream.is_empty() {
        let length = usize::try_from(length_on_wire(stream.iter().copied())).unwrap();
        let (frame, rest) = stream.split_at_checked(length).expect("a whole frame");
        frames.push(frame);
        stream = rest;
    }
    frames
}

#[test]
fn everyone_gets_the_same_in_the_same_order_whoever_speaks_on_whichever_thread() {
    const PARTS: usize = 3;
    const MEMBERS: usize = 4;
    const MESSAGES: usize = 50;
    // All of them are more than two sockets hold, so members fall behind while they speak.
    let message = |number: u64, count: usize| text(format!("{number} {count:500}"));
    let total = PARTS * MEMBERS * MESSAGES * message(10, 0).len();

    let (room, all_are_here) = (new_room(PARTS, FAR), Barrier::new(PARTS));
    let part = |part: usize| {
        let (room, all_are_here) = (&room, &all_are_here);
        move || {
            run(async {
                let mut seats = Vec::new();
                for number in 0..MEMBERS {
                    let number = (10 * (part + 1) + number) as u64;
                    seats.push((number, Seat::take(room, part, number).await));
                }
                all_are_here.wait();
                let mut members = JoinSet::new();
                for (number, mut seat) in seats {
                    members.spawn(async move {
                        for count in 0..MESSAGES {
                            seat.member.broadcast(&message(number, count), 1);
                            yield_now().await;
                        }
                        seat.hear(total).await
                    });
                }
                tokio::select! {
                    () = room.take_turns(part) => unreachable!("turns have no end"),
                    heard = members.join_all() => heard,
                }
            })
        }
    };
    let heard: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..PARTS).map(|n| scope.spawn(part(n))).collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.flatten().collect()
    });

    assert_eq!(heard.len(), PARTS * MEMBERS);
    assert!(heard.iter().all(|other| *other == heard[0]));
    let mut said = HashMap::<&[u8], usize>::new();
    for frame in frames(&heard[0]) {
        let count = said.entry(&frame[4..6]).or_default();
        let number = std::str::from_utf8(&frame[4..6]).unwrap().parse().unwrap();
        assert!(frame == message(number, *count));
        *count += 1;
    }
    assert_eq!(said.len(), PARTS * MEMBERS);
    assert!(room.members() == 0);
    assert_eq!(log_length(&room), 0);
}

#[test]
fn who_does_not_read_delays_nobody_and_misses_nothing() {
    run(async {
        let room = new_room(2, FAR);
        let mut slow = Seat::take(&room, 0, 1).await;
        let mut fast = [Seat::take(&room, 0, 2).await, Seat::take(&room, 1, 3).await];
        let mut said = Vec::new();
        for count in 0_u8..200 {
            let frame = text(vec![b'a' + count % 26; 1000 + usize::from(count)]);
            say(&room, &frame);
            let _ = slow.poll().await;
            for seat in &mut fast {
                assert_eq!(seat.hear(frame.len()).await, frame);
            }
            said.extend(frame);
        }
        assert!(slow.behind() > 0);
        assert!(log_length(&room) as u64 >= slow.behind());

        let mut heard = Vec::new();
        for length in [1, 2, 1001, 1002, 7, 30_000, 1, 50_000].into_iter().cycle() {
            let left = said.len() - heard.len();
            heard.extend(slow.hear(length.min(left)).await);
            if heard.len() == said.len() {
                break;
            }
            if left > 100_000 {
                let frame = text("meanwhile");
                say(&room, &frame);
                said.extend(frame);
                // The log goes back to the batch of the slowest place, no further.
                let beyond = log_length(&room) as u64 - slow.behind();
                assert!(beyond < 1300, "{beyond} bytes more than the slowest needs");
            }
        }
        assert!(heard == said);
        slow.catch_up().await.unwrap();
        assert_eq!(slow.behind(), 0);
        assert_eq!(log_length(&room), 0);
    });
}

#[test]
fn view_receives_all_that_a_member_behind_is_sent() {
    run(async {
        let mut hall = Hall::new();
        let _watch = hall.watch();
        let room = Room::new(1, &Limits::default(), None, hall.view.clone());
        let mut seat = Seat::take(&room, 0, 1).await;
        seat.catch_up().await.unwrap();
        hall.told();
        let (first, second) = (text(vec![b'a'; HUGE]), text("b"));
        say(&room, &first);
        assert_eq!(room.counts(), (1, 1));
        say(&room, &second);
        let said = [&first[..], &second].concat();
        assert!(seat.hear(said.len()).await == said);
        seat.catch_up().await.unwrap();
        assert_eq!(room.counts(), (1, 0));
        let mut shown = Vec::new();
        for what in hall.told() {
            let What::Written(bytes, start) = what else { panic!("{what:?}") };
            let aligned = shown.is_empty() || shown.len() == first.len();
            assert_eq!(start, Start::aligned(aligned), "at byte {}", shown.len());
            shown.extend(bytes);
        }
        assert!(shown == said);
    });
}

#[test]
fn who_is_further_behind_than_max_backlog_is_cut_after_a_whole_frame() {
    run(async {
        let backlog = 3 * HUGE;
        let room = new_room(1, backlog);
        let mut slow = Seat::take(&room, 0, 1).await;
        let mut fast = Seat::take(&room, 0, 2).await;
        slow.catch_up().await.unwrap();
        let said: Vec<_> = (b'a'..=b'h').map(|letter| text([letter; HUGE])).collect();
        let mut turns = said.iter();
        let behind = loop {
            let frame = turns.next().expect("it is cut before all is said");
            say(&room, frame);
            assert_eq!(fast.hear(frame.len()).await, *frame);
            match slow.poll().await {
                Poll::Ready(Err(Cut::TooSlow(behind))) => break behind,
                Poll::Ready(Err(cut)) => panic!("{cut:?}"),
                Poll::Ready(Ok(())) => panic!("nobody reads"),
                Poll::Pending => assert!(slow.behind() <= backlog as u64),
            }
        };
        assert_eq!(behind, slow.behind());
        assert!(behind > backlog as u64);
        // It gets nothing of what is said from now.
        let late = text("late");
        say(&room, &late);
        assert_eq!(fast.hear(late.len()).await, late);
        // Its socket took only a part of the first frame.
        let heard = slow.leave().await;
        assert!(heard == said[0]);
        assert_eq!(room.members(), 1);
        assert_eq!(log_length(&room), 0);
    });
}

#[test]
fn who_never_opens_is_cut_and_holds_the_log_no_further_than_max_backlog() {
    run(async {
        let frame = text([b'x'; 1000]);
        let backlog = 10 * frame.len();
        let room = new_room(1, backlog);
        let member = join(&room, 0, 1);
        for _ in 0..50 {
            say(&room, &frame);
            assert!(log_length(&room) <= backlog);
        }
        assert_eq!(log_length(&room), 0);
        let mut seat = Seat::open(member).await;
        let cut = seat.catch_up().await;
        assert!(matches!(cut, Err(Cut::TooSlow(11_044))), "{cut:?}");
        assert_eq!(seat.leave().await, b"");
    });
}

#[test]
fn who_is_cut_between_two_frames_leaves_at_once() {
    run(async {
        let room = new_room(1, 10_000);
        let mut seat = Seat::take(&room, 0, 1).await;
        seat.own.write_all(&vec![0; 2 * HUGE]).unwrap();
        // Its own frames fill the socket, so none of the room's was begun.
        assert!(seat.poll().await.is_pending());
        say(&room, &text([b'x'; 11_000]));
        let cut = seat.catch_up().await;
        assert!(matches!(cut, Err(Cut::TooSlow(11_004))), "{cut:?}");
        assert_eq!(log_length(&room), 0);
        assert_eq!(seat.leave().await, vec![0; 2 * HUGE]);
        assert!(room.members() == 0);
    });
}

#[test]
fn whose_socket_is_lost_is_told_so_and_leaves() {
    run(async {
        let room = new_room(1, FAR);
        let mut seat = Seat::take(&room, 0, 1).await;
        seat.catch_up().await.unwrap();
        seat.client.set_zero_linger().unwrap();
        let (_, client) = pair().await;
        drop(std::mem::replace(&mut seat.client, client));
        let cut = soon(async {
            loop {
                say(&room, &text("anyone?"));
                if let Poll::Ready(Err(cut)) = seat.poll().await {
                    break cut;
                }
                yield_now().await;
            }
        });
        let cut = cut.await;
        let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        assert!(matches!(&cut, Cut::Lost(kind) if kinds.contains(kind)), "{cut:?}");
        say(&room, &text("the room goes on"));
        assert_eq!(log_length(&room), 0);
        let rest = seat.member.leave();
        assert!(rest.is_empty());
        assert!(room.members() == 0);
    });
}

/// Counts how often a task is woken.
struct Alarm(AtomicUsize);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn the_task_of_a_member_that_the_turn_gives_up_on_is_woken() {
    run(async {
        let room = new_room(1, 3 * HUGE);
        let mut seat = Seat::take(&room, 0, 1).await;
        seat.catch_up().await.unwrap();
        let alarms = [(), ()].map(|()| Arc::new(Alarm(AtomicUsize::new(0))));
        let wakers = alarms.clone().map(Waker::from);
        let woken = || alarms.each_ref().map(|alarm| alarm.0.load(Relaxed));
        // The last task that polled is woken.
        for waker in &wakers {
            let poll = seat.member.poll_send(&mut Context::from_waker(waker), &mut seat.own);
            assert!(matches!(poll, Poll::Ready(Ok(()))));
        }
        say(&room, &text("nothing to do for the task"));
        assert_eq!(woken(), [0, 0]);
        say(&room, &text([b'x'; HUGE]));
        assert_eq!(woken(), [0, 1], "it is behind");
        say(&room, &text([b'x'; HUGE]));
        assert_eq!(woken(), [0, 1], "it is further behind");
        say(&room, &text([b'x'; 2 * HUGE]));
        assert_eq!(woken(), [0, 2], "it is too slow");
    });
}

#[test]
fn a_turn_comes_when_everyone_who_can_go_on_has_spoken() {
    run(async {
        let room = new_room(1, FAR);
        let _seat = Seat::take(&room, 0, 1).await;
        let pending = |room: &Room| lock(&room.pending).bytes[0].clone().unwrap_or_default();
        let mut tasks = JoinSet::new();
        let turns = Arc::clone(&room);
        tasks.spawn(async move { turns.take_turns(0).await });
        yield_now().await;
        room.speak(&text("one"));
        // The turn was woken before this task was there, and lets it go first all the same.
        let second = Arc::clone(&room);
        let said = tokio::spawn(async move {
            second.speak(&text("two"));
            pending(&second)
        });
        assert_eq!(soon(said).await.unwrap(), [text("one"), text("two")].concat());
        soon(async {
            while !pending(&room).is_empty() {
                yield_now().await;
            }
        })
        .await;
    });
}

#[test]
fn own_frames_wait_for_the_end_of_the_frame_that_was_begun() {
    run(async {
        let room = new_room(1, FAR);
        let mut seat = Seat::take(&room, 0, 1).await;
        seat.catch_up().await.unwrap();
        let (first, second) = (text([b'1'; HUGE]), text([b'2'; HUGE]));
        say(&room, &first);
        say(&room, &second);
        assert!(seat.poll().await.is_pending());
        seat.own.write_all(&pong(7)).unwrap();
        let expected = [first, pong(7), second].concat();
        assert!(seat.hear(expected.len()).await == expected);
    });
}

#[test]
fn the_room_waits_for_the_end_of_the_own_frames_that_were_begun() {
    run(async {
        let room = new_room(1, FAR);
        let mut seat = Seat::take(&room, 0, 1).await;
        let (own, said) = (text([b'o'; HUGE]), text("said"));
        seat.own.write_all(&own).unwrap();
        assert!(seat.poll().await.is_pending());
        say(&room, &said);
        let expected = [own, said].concat();
        assert!(seat.hear(expected.len()).await == expected);
    });
}

#[test]
fn own_frames_of_a_member_that_is_up_to_date_go_at_once_and_the_turn_writes_again() {
    run(async {
        let room = new_room(1, FAR);
        let mut seat = Seat::take(&room, 0, 1).await;
        seat.own.write_all(&pong(1)).unwrap();
        seat.catch_up().await.unwrap();
        assert!(seat.own.is_empty());
        say(&room, &text("said"));
        // Without the member's task: nobody polls it here.
        let mut heard = [0; 9];
        soon(seat.client.read_exact(&mut heard)).await.unwrap();
        assert_eq!(heard[..], [pong(1), text("said")].concat());
    });
}

#[test]
fn a_place_begins_with_what_is_said_after_it_was_taken_though_its_socket_comes_later() {
    run(async {
        let room = new_room(1, FAR);
        say(&room, &text("long before"));
        room.speak(&text("just before"));
        let (early, late) = (join(&room, 0, 1), join(&room, 0, 2));
        // One has its socket before the turn, one after more was said.
        let mut early = Seat::open(early).await;
        early.catch_up().await.unwrap();
        say(&room, &text("one"));
        say(&room, &text("two"));
        let mut late = Seat::open(late).await;
        let expected = [text("one"), text("two")].concat();
        assert_eq!(early.hear(expected.len()).await, expected);
        assert_eq!(late.hear(expected.len()).await, expected);
        late.catch_up().await.unwrap();
        assert_eq!(log_length(&room), 0);
    });
}

#[test]
fn leaving_while_behind_loses_nothing_that_was_said_before() {
    run(async {
        let room = new_room(1, FAR);
        let mut seat = Seat::take(&room, 0, 1).await;
        seat.catch_up().await.unwrap();
        let said: Vec<_> = (0..20).map(|n| text(vec![n; HUGE])).collect();
        said.iter().for_each(|frame| say(&room, frame));
        seat.own.write_all(&pong(1)).unwrap();
        let leaving = tokio::spawn(seat.leave());
        yield_now().await;
        assert_eq!(room.members(), 0);
        say(&room, &text("too late"));
        assert!(leaving.await.unwrap() == [said.concat(), pong(1)].concat());
        assert_eq!(log_length(&room), 0);
    });
}

#[test]
fn leaving_holds_the_log_no_further_than_max_backlog() {
    run(async {
        let backlog = 3 * HUGE;
        let room = new_room(1, backlog);
        let mut seat = Seat::take(&room, 0, 1).await;
        seat.catch_up().await.unwrap();
        let first = text([b'1'; HUGE]);
        say(&room, &first);
        assert!(seat.poll().await.is_pending());
        assert!(seat.member.leave().is_empty());
        for _ in 0..50 {
            say(&room, &text([b'x'; HUGE]));
            assert!(log_length(&room) <= backlog + HUGE);
        }
        assert_eq!(log_length(&room), 0);
        // It still gets the rest of the frame that was begun.
        assert!(seat.leave().await == first);
    });
}

#[test]
fn a_member_that_left_with_everything_is_never_too_slow() {
    run(async {
        let room = new_room(1, 10_000);
        let mut seat = Seat::take(&room, 0, 1).await;
        seat.own.write_all(&vec![0; 2 * HUGE]).unwrap();
        assert!(seat.poll().await.is_pending());
        assert!(seat.member.leave().is_empty());
        for _ in 0..50 {
            say(&room, &text([b'x'; 1_000]));
        }
        assert!(seat.poll().await.is_pending());
        assert_eq!(seat.leave().await, vec![0; 2 * HUGE]);
    });
}

#[test]
fn who_leaves_has_been_offered_all_that_was_said() {
    run(async {
        let room = new_room(1, FAR);
        let mut seat = Seat::take(&room, 0, 1).await;
        seat.catch_up().await.unwrap();
        let said = text("last words");
        seat.member.broadcast(&said, 1);
        seat.own.write_all(&pong(1)).unwrap();
        assert_eq!(seat.leave().await, [said, pong(1)].concat());
    });
}

#[test]
fn who_leaves_knows_how_much_it_was_given_and_how_many_remain() {
    run(async {
        let room = new_room(2, FAR);
        say(&room, &text("before"));
        let _others = [join(&room, 0, 1), join(&room, 1, 2)];
        let mut seat = Seat::take(&room, 0, 3).await;
        seat.catch_up().await.unwrap();
        assert_eq!(room.members(), 3);
        let said = text("said");
        say(&room, &said);
        assert!(seat.member.leave().is_empty());
        assert_eq!((seat.member.sent(), room.members()), (said.len() as u64, 2));
    });
}

#[test]
fn who_leaves_inside_a_frame_takes_all_of_its_rest_though_the_log_wraps_there() {
    run(async {
        let room = new_room(1, FAR);
        let mut seat = Seat::take(&room, 0, 1).await;
        let said: Vec<_> = (0..HUGE).map(|n| n.to_le_bytes()[0]).collect();
        say(&room, &text(&said));
        assert!(seat.poll().await.is_pending());
        {
            let log = &mut seat.member.list().log.bytes;
            let bytes: Vec<_> = log.drain(..).collect();
            let (front, back) = bytes.split_at(bytes.len() - 1000);
            *log = VecDeque::with_capacity(bytes.len());
            log.extend(back);
            log.extend(front);
            log.drain(..back.len());
            log.extend(back);
            assert_eq!(log.as_slices().1, back);
        }
        assert!(seat.leave().await == text(&said));
    });
}

#[test]
fn the_list_is_as_before_whatever_ends_a_member() {
    run(async {
        let room = new_room(2, FAR);
        let stays = join(&room, 1, 0);
        let ends: [fn(Member); 3] = [
            drop,
            |member| assert!(member.leave().is_empty()),
            |member| {
                let task = AssertUnwindSafe(|| {
                    let _member = member;
                    panic!("as a connection's task might");
                });
                assert!(catch_unwind(task).is_err());
            },
        ];
        for end in ends {
            let member = join(&room, 0, 1);
            say(&room, &text("it holds the log"));
            assert_eq!(room.members(), 2);
            end(member);
            assert_eq!(room.members(), 1);
            assert_eq!(lock(&room.parts[0].list).log.bytes.len(), 0);
        }
        assert!(room.members() > 0);
        drop(stays);
        assert!(room.members() == 0);
        assert_eq!(log_length(&room), 0);
    });
}

#[test]
fn a_panic_under_the_locks_does_not_end_the_room() {
    run(async {
        let room = new_room(1, FAR);
        let mut seat = Seat::take(&room, 0, 1).await;
        let holding = AssertUnwindSafe(|| {
            let _list = lock(&room.parts[0].list);
            let _pending = lock(&room.pending);
            panic!("as nothing here does");
        });
        assert!(catch_unwind(holding).is_err());
        let said = text("still here");
        say(&room, &said);
        assert_eq!(seat.hear(said.len()).await, said);
    });
}

#[test]
fn deliveries_are_messages_times_the_members_of_that_moment() {
    run(async {
        let room = new_room(2, FAR);
        let mut speaker = Seat::take(&room, 0, 1).await;
        let mut say = |messages| speaker.member.broadcast(&text("x").repeat(messages), messages as u64);
        say(2);
        assert_eq!(deliveries(&room), 2);
        // Its connection is not open yet.
        let late = join(&room, 1, 2);
        say(2);
        assert_eq!(deliveries(&room), 4);
        let late = Seat::open(late).await;
        say(3);
        assert_eq!(deliveries(&room), 10);
        late.leave().await;
        say(1);
        assert_eq!(deliveries(&room), 11);
        let panics = Seat::take(&room, 1, 3).await;
        say(1);
        assert_eq!(deliveries(&room), 13);
        // As when its task panics.
        drop(panics);
        say(1);
        assert_eq!(deliveries(&room), 14);
    });
}

#[test]
fn what_is_enough_for_one_turn_runs_it_early_in_every_part() {
    let room = new_room(2, FAR);
    let mut member = join(&room, 0, 1);
    let pending = || lock(&room.pending).bytes.iter().flatten().map(Vec::len).max();
    let header = text([]).len() + 8;
    member.broadcast(&text(vec![b'x'; MAX_PENDING - header - 1]), 1);
    assert_eq!(pending(), Some(MAX_PENDING - 1));
    member.broadcast(b"\x81\x00", 1);
    assert_eq!(pending(), Some(0));
    assert_eq!(log_length(&room), MAX_PENDING + 1);
    // Nor is the memory of a turn that was larger kept.
    member.broadcast(&text(vec![b'x'; 2 * MAX_PENDING]), 1);
    assert!(room.parts.iter().all(|part| lock(&part.list).spare.capacity() <= MAX_PENDING));
}

#[test]
fn nothing_is_kept_for_a_part_without_members() {
    let room = new_room(2, FAR);
    let pending = || lock(&room.pending).bytes[1].clone();
    let mut member = join(&room, 0, 1);
    member.broadcast(&text("one"), 1);
    assert_eq!(pending(), None);
    let other = join(&room, 1, 2);
    member.broadcast(&text("two"), 1);
    assert_eq!(pending(), Some(text("two")));
    // Its log goes on where it joined.
    room.turn(1);
    assert_eq!(lock(&room.parts[1].list).log.end, lock(&room.pending).end);
    drop(other);
    room.turn(1);
    assert_eq!(pending(), None);
}

#[derive(Clone, Debug)]
enum Step {
    Join { part: usize },
    Open(u64),
    Say { length: usize },
    Turn { part: usize },
    Own(u64),
    Poll(u64),
    Hear(u64, usize),
    Leave(u64),
    Drop(u64),
}

fn step() -> impl Strategy<Value = Step> {
    // The members' numbers count up from 0; most steps meet one that is there.
    let who = || 0..6_u64;
    prop_oneof![
        3 => (0..2_usize).prop_map(|part| Step::Join { part }),
        3 => who().prop_map(Step::Open),
        6 => prop_oneof![0..100_usize, 100..60_000_usize].prop_map(|length| Step::Say { length }),
        6 => (0..2_usize).prop_map(|part| Step::Turn { part }),
        4 => who().prop_map(Step::Own),
        4 => who().prop_map(Step::Poll),
        6 => (who(), 1..50_000_usize).prop_map(|(who, length)| Step::Hear(who, length)),
        1 => who().prop_map(Step::Leave),
        1 => who().prop_map(Step::Drop),
    ]
}

/// What a member must hear: all that is said from `start` on, its own frames in between.
#[derive(Default)]
struct Model {
    start: usize,
    own: Vec<Vec<u8>>,
    heard: Vec<u8>,
    member: Option<Member>,
    seat: Option<Seat>,
    cut: bool,
}

impl Model {
    fn is_there(&self) -> bool {
        self.member.is_some() || self.seat.is_some()
    }

    async fn poll(&mut self) {
        if let Some(seat) = &mut self.seat {
            match seat.poll().await {
                Poll::Ready(Err(cut @ (Cut::Lost(_) | Cut::Dismissed(_)))) => panic!("{cut:?}"),
                Poll::Ready(Err(Cut::TooSlow(_))) => self.cut = true,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
    }

    fn hear(&mut self, length: usize) -> usize {
        let mut bytes = vec![0; length];
        let client = self.seat.as_ref().map(|seat| &seat.client);
        let read = client.and_then(|client| client.try_read(&mut bytes).ok());
        self.heard.extend(&bytes[..read.unwrap_or(0)]);
        read.unwrap_or(0)
    }

    /// Everything that is left for this member comes, then it leaves.
    async fn finish(&mut self, said: &[u8]) {
        let Some(mut seat) = self.seat.take() else {
            return drop(self.member.take());
        };
        if !self.cut {
            let own: usize = self.own.iter().map(Vec::len).sum();
            let left = said.len() - self.start + own - self.heard.len();
            self.heard.extend(seat.hear(left).await);
        }
        self.leave(seat, said, false).await;
    }

    /// The member leaves. If it can't be too slow, it has heard everything that was said until then.
    async fn leave(&mut self, seat: Seat, said: &[u8], all: bool) {
        self.heard.extend(seat.leave().await);
        let is_own = |frame: &&[u8]| frame[0] == 0x8a;
        let (own, room): (Vec<_>, Vec<_>) = frames(&self.heard).into_iter().partition(is_own);
        assert!(own == self.own);
        assert!(said[self.start..].starts_with(&room.concat()));
        assert!(!all || said.len() - self.start == room.concat().len());
    }
}

async fn play(steps: Vec<Step>, backlog: usize) {
    let room = new_room(2, backlog);
    let (mut said, mut models) = (Vec::new(), Vec::<Model>::new());
    let mut unheard_bytes = 0;
    for step in steps {
        let who = match step {
            Step::Open(who)
            | Step::Own(who)
            | Step::Poll(who)
            | Step::Hear(who, _)
            | Step::Leave(who)
            | Step::Drop(who) => usize::try_from(who).unwrap(),
            _ => 0,
        };
        // Nobody there yet: nothing to do.
        let mut nobody = Model::default();
        let count = models.len();
        let model = models.get_mut(who).unwrap_or(&mut nobody);
        match step {
            Step::Join { part } => models.push(Model {
                start: said.len(),
                member: Some(join(&room, part, count as u64)),
                ..Model::default()
            }),
            Step::Open(_) => {
                if let Some(member) = model.member.take() {
                    model.seat = Some(Seat::open(member).await);
                }
            }
            Step::Say { length } => {
                let frame = text(vec![b'x'; length]);
                room.speak(&frame);
                said.extend(frame);
            }
            Step::Turn { part } => room.turn(part),
            Step::Own(_) => {
                if let Some(seat) = &mut model.seat {
                    let frame = pong(u8::try_from(model.own.len() % 256).unwrap());
                    seat.own.write_all(&frame).unwrap();
                    model.own.push(frame);
                    model.poll().await;
                }
            }
            Step::Poll(_) => model.poll().await,
            Step::Hear(_, length) => {
                yield_now().await;
                model.poll().await;
                model.hear(length);
            }
            Step::Leave(_) => {
                if let Some(seat) = model.seat.take() {
                    model.leave(seat, &said, backlog == FAR).await;
                }
            }
            Step::Drop(_) => {
                let unheard = |seat: &Seat| seat.member.sent() + seat.own.written() - model.heard.len() as u64;
                unheard_bytes += model.seat.as_ref().map_or(0, unheard);
                drop((model.member.take(), model.seat.take()));
            }
        }
        let there = models.iter().filter(|model| model.is_there()).count();
        assert_eq!(room.members(), there);
    }
    (0..2).for_each(|part| room.turn(part));
    for model in &mut models {
        model.poll().await;
        model.finish(&said).await;
    }
    let heard: u64 = models.iter().map(|model| model.heard.len() as u64).sum();
    assert_eq!(room.view.counters().total(|traffic| &traffic.bytes_out), heard + unheard_bytes);
    assert!(room.members() == 0);
    assert_eq!(log_length(&room), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_happens_each_gets_what_is_said_while_it_is_there_in_whole_frames(
        steps in vec(step(), 0..80),
        backlog in prop_oneof![Just(FAR), 20_000..200_000_usize],
    ) {
        run(play(steps, backlog));
    }
}

/// A room with this backlog, a member that is far behind because nobody reads, and one that keeps up.
async fn room_with_a_slow_member(backlog: usize) -> (Arc<Room>, Seat, Seat) {
    let room = new_room(2, backlog);
    let mut slow = Seat::take(&room, 0, 1).await;
    let mut fast = Seat::take(&room, 1, 2).await;
    slow.catch_up().await.unwrap();
    let frame = text([b'x'; HUGE]);
    while slow.behind() <= backlog as u64 / 4 {
        assert!(!room.pace.is_paced());
        say(&room, &frame);
        assert!(slow.poll().await.is_pending());
        fast.hear(frame.len()).await;
    }
    assert!(room.pace.is_paced());
    (room, slow, fast)
}

#[test]
fn room_is_paced_until_the_slow_member_is_half_as_far_behind() {
    run(async {
        let backlog = 40 * HUGE;
        let (room, mut slow, _fast) = room_with_a_slow_member(backlog).await;
        let later = Instant::now() + 100 * PACE_STEP;
        while slow.behind() > backlog as u64 / 8 {
            assert_eq!(lock(&room.parts[0].list).review(&room.pace, Instant::now()), Waiting::ForMembers);
            slow.hear(HUGE / 2).await;
        }
        assert_eq!(lock(&room.parts[0].list).review(&room.pace, Instant::now()), Waiting::ForNobody);
        // The limit grows until it is none.
        assert!(room.adjust_pace(later));
        while room.adjust_pace(Instant::now() + 100 * PACE_STEP) {}
        assert!(!room.pace.is_paced());
    });
}

#[test]
fn room_does_not_wait_for_a_stuck_member() {
    run(async {
        let (room, mut slow, _fast) = room_with_a_slow_member(40 * HUGE).await;
        let patience = Limits::default().stuck_after() * PATIENCE;
        assert!(room.adjust_pace(Instant::now()));
        assert!(!room.adjust_pace(Instant::now() + patience));
        assert!(!room.pace.is_paced());
        assert!(slow.poll().await.is_pending());
        assert_eq!(room.members(), 2);
    });
}

#[test]
fn room_does_not_wait_for_a_member_that_is_gone() {
    run(async {
        let (room, slow, _fast) = room_with_a_slow_member(40 * HUGE).await;
        assert_eq!(lock(&room.parts[0].list).review(&room.pace, Instant::now()), Waiting::ForMembers);
        drop(slow);
        assert_eq!(lock(&room.parts[0].list).review(&room.pace, Instant::now()), Waiting::ForNobody);
    });
}

#[test]
fn room_without_a_pace_waits_for_nobody() {
    run(async {
        let limits = Limits { pace: 0, max_backlog: 8 * HUGE, ..Limits::default() };
        let room = Room::new(1, &limits, None, View::new(|_, _, _| (), Admission::default()));
        let mut slow = Seat::take(&room, 0, 1).await;
        slow.catch_up().await.unwrap();
        let frame = text([b'x'; HUGE]);
        for _ in 0..6 {
            say(&room, &frame);
            assert!(slow.poll().await.is_pending());
            assert!(!room.pace.is_paced());
        }
    });
}

/// A room on several servers, whose engine is this test.
fn shared_room(parts: usize) -> Arc<Room> {
    let view = View::new(|_, _, _| (), Admission::default());
    let room = Room::new(parts, &Limits::default(), Some(Outbox::new(view.clone())), view);
    room.outbox().unwrap().open();
    room
}

/// The engine takes a batch, and appends it.
async fn append(room: &Room) -> Vec<u8> {
    let outbox = room.outbox().unwrap();
    let batch = soon(outbox.take()).await;
    outbox.appended();
    batch.frames
}

#[test]
fn shared_room_broadcasts_what_comes_back() {
    run(async {
        let room = shared_room(2);
        let (mut speaker, mut other) = (Seat::take(&room, 0, 1).await, Seat::take(&room, 1, 2).await);
        let (mine, theirs) = (text("mine"), text("theirs"));
        speaker.member.broadcast(&mine, 1);
        let entry = append(&room).await;
        assert_eq!(entry, mine);
        let pending = |seat: &Seat| {
            let mut context = Context::from_waker(Waker::noop());
            seat.member.poll_broadcast(&mut context).is_pending()
        };
        assert!(pending(&speaker) && !pending(&other));
        room.receive(&theirs, 1, false);
        assert!(pending(&speaker));
        room.receive(&entry, 1, true);
        assert!(!pending(&speaker));
        (0..2).for_each(|part| room.turn(part));
        let expected = [theirs, mine].concat();
        for seat in [&mut speaker, &mut other] {
            assert_eq!(seat.hear(expected.len()).await, expected);
        }
        // Two messages for two members. The batch of another server may have several.
        assert_eq!(deliveries(&room), 4);
        room.receive(&[text("one"), text("two"), text("three")].concat(), 3, false);
        assert_eq!(deliveries(&room), 10);
    });
}

#[test]
fn shared_room_admits_nobody_while_it_is_closed() {
    let room = shared_room(1);
    let newcomer = Arc::new(Client::new(1, 0));
    assert!(room.is_open() && room.join(&newcomer).is_some());
    room.outbox().unwrap().close();
    assert!(!room.is_open() && room.join(&newcomer).is_none());
    assert_eq!(room.members(), 0);
    let alone = new_room(1, FAR);
    assert!(alone.is_open() && alone.outbox().is_none());
}

#[test]
fn dismissed_members_receive_what_was_said_before() {
    run(async {
        let room = shared_room(2);
        let failure = Failure::new(CloseCode::Restart, "why");
        let opening = join(&room, 0, 1);
        let (mut slow, mut fast) = (Seat::take(&room, 0, 2).await, Seat::take(&room, 1, 3).await);
        slow.catch_up().await.unwrap();
        fast.catch_up().await.unwrap();
        let said = text([b'x'; HUGE]);
        say(&room, &said);
        assert!(slow.poll().await.is_pending());
        assert_eq!(fast.hear(said.len()).await, said);
        let left = Seat::take(&room, 0, 4).await;
        assert!(left.member.leave().is_empty());
        assert_eq!(
            (room.dismiss(1, &failure), room.dismiss(usize::MAX, &failure), room.dismiss(1, &failure)),
            (1, 2, 0)
        );
        let opening = Seat::open(opening).await;
        for mut seat in [opening, slow, fast] {
            for _ in 0..2 {
                let Poll::Ready(Err(Cut::Dismissed(told))) = seat.poll().await else { panic!("not told") };
                assert_eq!(told, failure);
            }
            // What is said now is not for it, but the log keeps the rest for it.
            let expected = if seat.member.client.number == 3 { Vec::new() } else { said.clone() };
            assert!(seat.leave().await == expected);
        }
        assert!(left.leave().await.is_empty());
        assert_eq!(log_length(&room), 0);
    });
}

#[test]
fn members_that_are_too_slow_or_lost_are_not_told_again() {
    run(async {
        let limits = Limits { max_backlog: HUGE, ..Limits::default() };
        let room = Room::new(1, &limits, None, View::new(|_, _, _| (), Admission::default()));
        let mut slow = Seat::take(&room, 0, 1).await;
        slow.catch_up().await.unwrap();
        (0..4).for_each(|_| say(&room, &text([b'x'; HUGE])));
        assert_eq!(room.dismiss(1, &Failure::new(CloseCode::Restart, "why")), 0);
        assert!(matches!(slow.poll().await, Poll::Ready(Err(Cut::TooSlow(_)))));
        assert_eq!(room.view.counters().too_slow.get(), 1);
    });
}

#[test]
fn full_outbox_stops_reading_from_a_client_that_has_more_to_say() {
    run(async {
        let room = shared_room(1);
        let (mut seat, socket) = (Seat::take(&room, 0, 1).await, soon(pair()).await.1);
        let may_speak = async |seat: &mut Seat, socket| {
            poll_fn(|context| Poll::Ready(seat.member.poll_speak(socket, context).is_ready())).await
        };
        assert!(may_speak(&mut seat, None).await && !seat.member.is_waiting());
        seat.member.broadcast(&text(vec![b'x'; OUTBOX]), 1);
        // It has nothing to say, so it does not count as waiting.
        assert!(!may_speak(&mut seat, Some(&socket)).await && !seat.member.is_waiting());
        assert!(!may_speak(&mut seat, None).await && seat.member.is_waiting());
        append(&room).await;
        assert!(may_speak(&mut seat, None).await && !seat.member.is_waiting());
    });
}
