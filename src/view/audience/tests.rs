use super::*;
use crate::limits::{FRAME_STEPS_PER_SECOND, MOST_VIEWERS, STEPS_PER_SECOND, VIEWER_QUEUE};
use crate::view::hooks::Watch;
use crate::view::record::{Start, What};
use std::cell::Cell;
use tokio::runtime::Builder;
use tokio::time::timeout;

/// A view whose thread is this test: it hears what it was told when the test says so.
pub struct Hall {
    pub view: View,
    told: Receiver<Told>,
    audience: Audience,
}

impl Hall {
    pub fn new() -> Self {
        thread_local! { static TOLD: Cell<Option<Receiver<Told>>> = const { Cell::new(None) } }
        let view = View::new(|_, told, _| TOLD.set(Some(told)), Admission::default());
        // The first viewer starts the thread.
        drop(view.watch(None, Vec::new()));
        let told = TOLD.take().unwrap();
        let dissector = Dissector::new(view.clone(), Admission::default());
        let audience = Audience { view: view.clone(), dissector, seats: Vec::new(), steps: 0, missed: 0 };
        let mut hall = Self { view, told, audience };
        hall.hear();
        hall
    }

    pub fn hear(&mut self) {
        while let Ok(told) = self.told.try_recv() {
            self.audience.hear(told);
        }
    }

    /// What the hooks have told since the last call. The viewers don't receive it.
    pub fn told(&mut self) -> Vec<What> {
        let records = self.told.try_iter().filter_map(|told| match told {
            Told::Record(record) => Some(record.what),
            _ => None,
        });
        records.collect()
    }

    pub fn begin_second(&mut self) {
        self.hear();
        self.audience.begin_second();
    }

    /// The viewer with its own connection 9.
    pub fn watch(&mut self) -> Watch {
        let watch = self.view.watch(Some(9), Vec::new()).unwrap();
        self.hear();
        watch
    }

    /// What the viewer is shown now: the steps, and the number of those it missed.
    pub fn shown(&mut self, watch: &mut Watch) -> (Vec<Arc<Step>>, u64) {
        self.hear();
        let (mut steps, mut missed) = (Vec::new(), 0);
        while let Ok(shown) = watch.shown.try_recv() {
            match shown {
                Shown::Step(step) => steps.push(step),
                Shown::Missed(some) => missed += some,
            }
        }
        (steps, missed)
    }

    pub fn names(&mut self, watch: &mut Watch) -> Vec<&'static str> {
        self.shown(watch).0.iter().map(|step| step.event.name).collect()
    }
}

pub fn client(number: u64) -> Arc<Client> {
    Arc::new(Client::new(number, 0))
}

#[test]
fn without_a_viewer_a_hook_tells_nothing() {
    let mut hall = Hall::new();
    let told = |view: &View| {
        view.joined(&client(1), || unreachable!());
        view.broadcast(&client(1), 1, 1, || unreachable!());
        view.accepted(&client(1));
        assert!(view.batch(b"x").shown.is_none());
    };
    assert!(!hall.view.is_watched());
    told(&hall.view);
    assert!(hall.told.try_recv().is_err());
    let (viewer, terminal) = (hall.watch(), hall.view.watch(None, Vec::new()).unwrap());
    assert!(hall.view.is_watched());
    assert_eq!(hall.view.viewers(), 1, "the terminal does not count");
    drop(viewer);
    assert!(hall.view.is_watched(), "the terminal still watches");
    assert_eq!(hall.view.viewers(), 0);
    drop(terminal);
    hall.hear();
    told(&hall.view);
    assert!(hall.told.try_recv().is_err());
}

#[test]
fn the_viewers_are_bounded_and_the_terminal_is_none_of_them() {
    let view = Hall::new().view;
    let viewers: Vec<_> = (0..MOST_VIEWERS).map(|_| view.watch(Some(1), Vec::new()).unwrap()).collect();
    assert!(view.watch(Some(1), Vec::new()).is_none());
    assert!(view.watch(None, Vec::new()).is_some());
    drop(viewers);
    assert_eq!(view.viewers(), 0);
    assert!(view.watch(Some(1), Vec::new()).is_some());
}

#[test]
fn a_step_has_its_connection_and_a_number() {
    let mut hall = Hall::new();
    let mut watch = hall.watch();
    let one = client(1);
    hall.view.accepted(&one);
    one.name_chat(42);
    hall.view.joined(&one, || 1);
    hall.view.accepted(&client(9));
    let (steps, _) = hall.shown(&mut watch);
    let told: Vec<_> = steps.iter().map(|step| (step.id, step.client.number, step.name(), step.event.name)).collect();
    assert_eq!(told, [(1, 1, None, "accepted"), (2, 1, Some("Client #42"), "joined")], "its own steps are not shown");
    assert_eq!([steps[0].id_of_client(), steps[1].id_of_client()], [None, Some(42)]);
}

#[test]
fn a_new_viewer_is_told_who_is_present() {
    let mut hall = Hall::new();
    let (one, two) = (client(1), client(2));
    one.name_chat(-7);
    two.name_chat(5);
    let mut watch = hall.view.watch(Some(9), vec![one, two]).unwrap();
    let (steps, _) = hall.shown(&mut watch);
    let told: Vec<_> = steps.iter().map(|step| (step.id, step.name().unwrap(), step.event.sentence.as_str())).collect();
    let joined = "in the list already, 2 there now";
    assert_eq!(told, [(1, "Client #-7", joined), (2, "Client #5", joined)]);
}

#[test]
fn frames_leave_room_for_other_steps_and_the_rest_is_counted() {
    let mut hall = Hall::new();
    let mut watch = hall.watch();
    let (one, most) = (client(1), u64::from(FRAME_STEPS_PER_SECOND));
    for _ in 0..most + 10 {
        hall.view.broadcast(&one, 1, 1, || (1, 0));
    }
    assert!(hall.view.batch(b"x").shown.is_none(), "one more that is missed");
    hall.view.left(&one, || 0);
    let (steps, missed) = hall.shown(&mut watch);
    assert_eq!((steps.len() as u64, missed), (most + 1, 11));
    assert_eq!(steps.last().unwrap().event.name, "left");
    for _ in 0..STEPS_PER_SECOND {
        hall.view.accepted(&one);
    }
    let (steps, _) = hall.shown(&mut watch);
    assert_eq!(steps.len() as u64, u64::from(STEPS_PER_SECOND) - most - 1);
    // The next second tells how many were missed, without another step, and has room again.
    hall.begin_second();
    assert_eq!(hall.shown(&mut watch).1, most + 1);
    hall.begin_second();
    hall.view.broadcast(&one, 1, 1, || (1, 0));
    let (steps, missed) = hall.shown(&mut watch);
    assert_eq!((steps.len(), missed), (1, 0));
}

#[test]
fn many_bytes_take_more_room() {
    type Hook = fn(&View);
    let hooks: [Hook; 2] =
        [|view| view.read(&client(1), &[0; 65536], Start::Anywhere), |view| drop(view.batch(&[0; 65536]))];
    for hook in hooks {
        let mut hall = Hall::new();
        let mut watch = hall.watch();
        for _ in 0..FRAME_STEPS_PER_SECOND {
            hook(&hall.view);
        }
        hall.begin_second();
        let missed = hall.shown(&mut watch).1;
        let taken = u64::from(FRAME_STEPS_PER_SECOND) - missed;
        assert_eq!(taken, u64::from(FRAME_STEPS_PER_SECOND).div_ceil(17), "each takes 17 steps' room");
    }
}

#[test]
fn refused_frames_leave_the_reserved_budget() {
    let view = Hall::new().view;
    let taken = |is_frame| (0..2 * STEPS_PER_SECOND).filter(|_| view.take_budget(is_frame)).count();
    assert_eq!(taken(true), FRAME_STEPS_PER_SECOND as usize);
    assert_eq!(taken(false), (STEPS_PER_SECOND - FRAME_STEPS_PER_SECOND) as usize);
}

#[test]
fn half_close_is_shown_in_a_flood_of_frames() {
    let mut hall = Hall::new();
    let mut watch = hall.watch();
    let one = client(1);
    while hall.view.take_budget(true) {}
    hall.view.read(&one, b"", Start::Aligned);
    hall.view.ended(&one, None);
    assert_eq!(hall.shown(&mut watch).0[0].event.sentence, "TCP closed first by the client");
}

#[test]
fn second_viewer_takes_nothing_from_the_first() {
    let mut hall = Hall::new();
    let mut watch = hall.watch();
    let (one, frame) = (client(1), b"\x81\x02hi");
    hall.view.wrote(&one, &frame[..3], || Start::Aligned);
    let mut other = hall.watch();
    hall.view.wrote(&one, &frame[3..], || Start::Anywhere);
    assert_eq!(hall.names(&mut watch), ["frame-out"]);
    assert_eq!(hall.names(&mut other), ["frame-out"]);
}

#[test]
fn steps_dropped_before_a_watch_are_not_reported() {
    let mut hall = Hall::new();
    drop(hall.watch());
    hall.view.miss(3);
    let mut watch = hall.watch();
    hall.begin_second();
    assert_eq!(hall.shown(&mut watch).1, 0);
}

#[test]
fn each_second_forgets_what_is_over() {
    let mut hall = Hall::new();
    let watch = hall.watch();
    hall.view.accepted(&client(1));
    hall.hear();
    assert_eq!((hall.audience.seats.len(), hall.audience.dissector.connections()), (1, 1));
    drop(watch);
    hall.begin_second();
    assert_eq!((hall.audience.seats.len(), hall.audience.dissector.connections()), (0, 0));
}

#[test]
fn a_full_queue_harms_no_other_viewer_and_what_it_misses_is_told_in_its_place() {
    let mut hall = Hall::new();
    let (mut stuck, mut other) = (hall.watch(), hall.watch());
    let one = client(1);
    let fill = |hall: &mut Hall, steps: usize| {
        for _ in 0..steps {
            hall.view.renew_budget();
            hall.view.accepted(&one);
        }
        hall.hear();
    };
    fill(&mut hall, VIEWER_QUEUE);
    assert_eq!(hall.shown(&mut other).0.len(), VIEWER_QUEUE);
    fill(&mut hall, 3);
    assert_eq!(hall.shown(&mut other).0.len(), 3);
    assert_eq!(hall.view.counters().unseen_steps.get(), 3);
    // One place in the queue: for what was missed. The step after it has none.
    assert!(matches!(stuck.shown.try_recv(), Ok(Shown::Step(_))));
    fill(&mut hall, 1);
    let (steps, missed) = hall.shown(&mut stuck);
    assert_eq!((steps.len(), missed), (VIEWER_QUEUE - 1, 3));
    hall.begin_second();
    assert_eq!(hall.shown(&mut stuck).1, 1);
    fill(&mut hall, 1);
    assert_eq!(hall.shown(&mut stuck).0.len(), 1);
    assert_eq!(hall.view.counters().unseen_steps.get(), 4);
}

#[test]
fn only_a_viewer_that_is_there_leaves_steps_unseen() {
    let mut hall = Hall::new();
    let stuck = hall.view.watch(Some(9), vec![client(1); VIEWER_QUEUE + 2]).unwrap();
    hall.hear();
    let unseen = |hall: &Hall| hall.view.counters().unseen_steps.get();
    assert_eq!(unseen(&hall), 2);
    drop(stuck);
    // A new viewer removes one that has left, so this one comes first.
    let _watch = hall.watch();
    let leaves = hall.watch();
    drop(leaves);
    hall.view.accepted(&client(1));
    hall.hear();
    assert_eq!(unseen(&hall), 2);
}

#[test]
fn the_end_releases_all_viewers() {
    let mut hall = Hall::new();
    let mut watch = hall.watch();
    hall.view.end();
    hall.hear();
    assert!(watch.shown.try_recv().is_err_and(|error| error == tokio::sync::mpsc::error::TryRecvError::Disconnected));
}

/// The view's thread reports missed steps when a second ends, and only then renews the budget.
#[test]
fn thread_counts_the_seconds() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let view = View::new(start, Admission::default());
    let mut watch = view.watch(Some(9), vec![client(1)]).unwrap();
    let mut next = || runtime.block_on(async { timeout(Duration::from_secs(10), watch.shown.recv()).await.unwrap() });
    assert!(matches!(next(), Some(Shown::Step(_))));
    view.miss(1);
    assert!(matches!(next(), Some(Shown::Missed(1))));
    let begun = Instant::now();
    while view.take_budget(false) {}
    drop(view.watch(None, Vec::new()));
    view.end();
    assert!(next().is_none());
    assert!(!view.take_budget(false) || begun.elapsed() >= Duration::from_secs(1));
}
