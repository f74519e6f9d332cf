//! Virtual time: nothing here sleeps.

use super::*;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Wake;

/// Bytes per second.
const LOWEST: u64 = 1_000_000;

const MILLISECOND: Duration = Duration::from_millis(1);

struct Stage {
    pace: Pace,
    now: Instant,
}

/// A speaker, what was read from it lately, and all that it has said.
struct Voice {
    number: u64,
    said: Said,
    total: u64,
}

impl Stage {
    fn new() -> Self {
        let now = Instant::now();
        Self { pace: Pace::new(&Limits { pace: LOWEST, ..Limits::default() }, now), now }
    }

    fn paced() -> Self {
        let stage = Self::new();
        stage.pace.begin(stage.now);
        stage
    }

    fn voice(&self, number: u64) -> Voice {
        Voice { number, said: self.pace.newcomer(self.now), total: 0 }
    }

    /// One that joined before the room was paced.
    fn quiet_voice(&self, number: u64) -> Voice {
        Voice { said: Self::new().voice(number).said, ..self.voice(number) }
    }

    fn may_speak(&self, voice: &Voice) -> bool {
        self.poll(voice, &mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn poll(&self, voice: &Voice, context: &mut Context<'_>) -> Poll<Duration> {
        self.pace.poll_speak(voice.number, voice.said, self.now, context)
    }

    /// Reads and broadcasts this much.
    fn speak(&self, voice: &mut Voice, bytes: usize) {
        self.pace.count_broadcast(voice.said, bytes, self.now);
        self.pace.count_read(&mut voice.said, bytes, self.now);
        voice.total += bytes as u64;
    }

    /// Lets the voices say as much as they may for this long, in reads of `bytes`.
    fn flood(&mut self, voices: &mut [Voice], bytes: usize, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.pace.adjust(Waiting::ForMembers, self.now);
            for voice in &mut *voices {
                while self.may_speak(voice) {
                    self.speak(voice, bytes);
                }
            }
            self.now += PACE_TICK;
        }
    }
}

/// Counts wake-ups.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

fn bell() -> (Arc<Bell>, Waker) {
    let bell = Arc::new(Bell::default());
    (Arc::clone(&bell), Waker::from(bell))
}

fn is_near(value: u64, expected: u64, percent: u64) -> bool {
    value.abs_diff(expected) * 100 <= expected * percent
}

#[test]
fn nobody_waits_while_everyone_keeps_up() {
    let stage = Stage::new();
    let mut loud = stage.voice(1);
    for _ in 0..100 {
        assert!(stage.may_speak(&loud));
        stage.pace.count_read(&mut loud.said, 1 << 20, stage.now);
    }
}

#[test]
fn loud_speakers_share_the_pace() {
    const SECONDS: u64 = 6;
    for (count, bytes) in [(1, 1_000), (1, 60_000), (10, 5_000), (30, 1_000), (30, 60_000)] {
        let mut stage = Stage::paced();
        let mut voices: Vec<_> = (0..count).map(|number| stage.voice(number)).collect();
        stage.flood(&mut voices, bytes, Duration::from_secs(SECONDS));
        let total = voices.iter().map(|voice| voice.total).sum::<u64>();
        assert!(is_near(total, LOWEST * SECONDS, 2), "{count} speakers, {bytes} bytes: {total}");
        let share = total / count;
        for voice in &voices {
            assert!(
                voice.total.abs_diff(share) <= share / 5 + bytes as u64,
                "{}: {} of {share}",
                voice.number,
                voice.total
            );
        }
    }
}

#[test]
fn pauses_can_be_made_up_for_only_briefly() {
    let mut stage = Stage::paced();
    let mut voices = [stage.voice(1)];
    stage.flood(&mut voices, 1000, Duration::from_secs(1));
    stage.now += Duration::from_secs(60);
    let before = voices[0].total;
    stage.flood(&mut voices, 1000, 10 * PACE_TICK);
    let most = (10 * PACE_TICK + PACE_CREDIT).as_millis() as u64 * LOWEST / 1000 + 2000;
    // Silent for a minute, it is quiet at first.
    let advance = QUIET_ADVANCE.as_millis() as u64 * LOWEST / 1000;
    assert!(voices[0].total - before <= most + advance, "{}", voices[0].total - before);
}

#[test]
fn quiet_speaker_does_not_wait_behind_loud_ones() {
    let mut stage = Stage::paced();
    let mut quiet = stage.quiet_voice(0);
    let mut loud: Vec<_> = (1..=60).map(|number| stage.voice(number)).collect();
    for _ in 0..5 {
        stage.flood(&mut loud, 60_000, Duration::from_secs(1));
        assert!(stage.may_speak(&quiet));
        stage.speak(&mut quiet, 100);
    }
}

#[test]
fn newcomer_does_not_go_before_a_quiet_speaker() {
    let stage = Stage::paced();
    let (mut quiet, newcomer) = (stage.quiet_voice(2), stage.voice(1));
    stage.pace.count_read(&mut quiet.said, QUIET as usize - 1, stage.now);
    stage.pace.count_broadcast(newcomer.said, 1_000_000, stage.now);
    stage.pace.count_broadcast(quiet.said, 1_000_000, stage.now);
    assert!(!stage.may_speak(&quiet));
    assert!(!stage.may_speak(&newcomer));
    let age = stage.pace.age(stage.now);
    assert_eq!(lock(&stage.pace.state).first(age, stage.now).map(|(number, _)| number), Some(2));
}

#[test]
fn large_message_of_a_loud_speaker_does_not_delay_a_quiet_one() {
    let stage = Stage::paced();
    let (mut loud, mut quiet) = (stage.voice(1), stage.quiet_voice(2));
    stage.speak(&mut loud, 16 * LOWEST as usize);
    assert!(!stage.may_speak(&loud));
    assert!(stage.may_speak(&quiet));
    stage.speak(&mut quiet, 100);
    assert!(stage.may_speak(&quiet));
}

#[test]
fn what_quiet_speakers_said_at_a_higher_rate_is_soon_made_up_for() {
    let mut stage = Stage::paced();
    for _ in 0..5 {
        stage.now += PACE_STEP;
        stage.pace.adjust(Waiting::ForNobody, stage.now);
    }
    for number in 0..1000 {
        let mut voice = stage.quiet_voice(number);
        if stage.may_speak(&voice) {
            stage.speak(&mut voice, 16_000);
        }
    }
    stage.pace.adjust(Waiting::ForMembers, stage.now);
    let quiet = stage.quiet_voice(1000);
    assert!(!stage.may_speak(&quiet));
    stage.now += QUIET_ADVANCE;
    for number in 0..1000 {
        stage.pace.forget(number, stage.now);
    }
    assert!(stage.may_speak(&quiet));
}

#[test]
fn quiet_speakers_together_are_only_a_little_ahead() {
    let stage = Stage::paced();
    let mut total = 0;
    for number in 0..1_000 {
        let mut voice = stage.quiet_voice(number);
        if stage.may_speak(&voice) {
            stage.speak(&mut voice, 1000);
            total += voice.total;
        }
    }
    let advance = QUIET_ADVANCE.as_millis() as u64 * LOWEST / 1000;
    assert!(is_near(total, advance, 5), "{total}");
}

#[test]
fn the_first_to_speak_is_woken_when_it_may() {
    let mut stage = Stage::paced();
    let (mut loud, mut louder) = (stage.voice(1), stage.voice(2));
    stage.speak(&mut loud, 50_000);
    stage.speak(&mut louder, 50_000);
    stage.speak(&mut louder, 50_000);
    let ((bell, waker), (other, other_waker)) = (bell(), bell());
    assert!(stage.poll(&louder, &mut Context::from_waker(&other_waker)).is_pending());
    assert!(stage.poll(&loud, &mut Context::from_waker(&waker)).is_pending());
    let rung = || (bell.0.load(Relaxed), other.0.load(Relaxed));
    stage.now += Duration::from_millis(149);
    stage.pace.adjust(Waiting::ForMembers, stage.now);
    assert_eq!(rung(), (0, 0));
    stage.now += MILLISECOND;
    stage.pace.adjust(Waiting::ForMembers, stage.now);
    assert_eq!(rung(), (1, 0));
    assert_eq!(stage.poll(&loud, &mut Context::from_waker(&waker)), Poll::Ready(150 * MILLISECOND));
    // Nothing was broadcast, so the other one may speak.
    stage.pace.count_read(&mut loud.said, 100, stage.now);
    assert_eq!(rung(), (1, 1));
}

/// Two speakers that have waited until what they said is paid for. The first one has said less.
fn two_that_wait() -> (Stage, Voice, Voice) {
    let mut stage = Stage::paced();
    let (mut first, mut second) = (stage.voice(1), stage.voice(2));
    stage.speak(&mut second, 400_000);
    stage.speak(&mut first, 10);
    assert!(!stage.may_speak(&first));
    assert!(!stage.may_speak(&second));
    stage.now += Duration::from_secs(1);
    (stage, first, second)
}

#[test]
fn speaker_that_does_not_come_keeps_nobody_waiting() {
    let (mut stage, first, second) = two_that_wait();
    stage.pace.adjust(Waiting::ForMembers, stage.now);
    stage.now += PACE_CREDIT;
    assert!(!stage.may_speak(&second), "the first one may still come");
    stage.now += MILLISECOND;
    assert!(stage.may_speak(&second));
    assert!(stage.may_speak(&first));
}

#[test]
fn speaker_that_is_gone_keeps_nobody_waiting() {
    let (stage, _first, second) = two_that_wait();
    assert!(!stage.may_speak(&second), "the first one goes first");
    stage.pace.forget(1, stage.now);
    assert!(stage.may_speak(&second));
}

#[test]
fn waits_are_counted_while_they_last_and_however_they_end() {
    const SECOND: Duration = Duration::from_secs(1);
    let (mut stage, mut first, second) = two_that_wait();
    let waiting = |stage: &Stage| stage.pace.waiting(stage.now);
    assert_eq!(waiting(&stage), (2, 2 * SECOND));
    assert!(stage.may_speak(&first));
    stage.now += SECOND;
    assert_eq!(waiting(&stage), (1, 3 * SECOND));
    stage.pace.forget(second.number, stage.now);
    stage.now += SECOND;
    assert_eq!(waiting(&stage), (0, 3 * SECOND));
    stage.speak(&mut first, 400_000);
    assert!(!stage.may_speak(&first));
    stage.now += SECOND;
    assert!(!stage.pace.adjust(Waiting::InVain, stage.now));
    stage.now += SECOND;
    assert_eq!(waiting(&stage), (0, 4 * SECOND));
}

#[test]
fn limit_doubles_once_everyone_has_caught_up() {
    let mut stage = Stage::paced();
    let rate = |stage: &Stage| lock(&stage.pace.state).rate;
    stage.now += PACE_STEP - MILLISECOND;
    assert!(stage.pace.adjust(Waiting::ForNobody, stage.now));
    assert_eq!(rate(&stage), LOWEST);
    stage.now += MILLISECOND;
    assert!(stage.pace.adjust(Waiting::ForNobody, stage.now));
    assert_eq!(rate(&stage), 2 * LOWEST);
    assert!(stage.pace.adjust(Waiting::ForNobody, stage.now));
    assert_eq!(rate(&stage), 2 * LOWEST);
    assert!(stage.pace.adjust(Waiting::ForMembers, stage.now));
    assert_eq!(rate(&stage), LOWEST);
    let (bell, waker) = bell();
    let mut loud = stage.voice(1);
    stage.speak(&mut loud, usize::MAX);
    assert!(stage.poll(&loud, &mut Context::from_waker(&waker)).is_pending());
    let mut steps = 0;
    while stage.pace.adjust(Waiting::ForNobody, stage.now) {
        (stage.now, steps) = (stage.now + PACE_STEP, steps + 1);
    }
    assert_eq!(steps, 1 + (FASTEST_PACE / LOWEST).ilog2());
    assert!(!stage.pace.is_paced());
    assert_eq!(bell.0.load(Relaxed), 1);
    assert!(stage.may_speak(&loud));
}

#[test]
fn debt_is_paid_off_at_the_rate_of_the_time() {
    let mut stage = Stage::paced();
    let mut loud = stage.voice(1);
    stage.speak(&mut loud, 1_000_000);
    stage.now += PACE_STEP;
    stage.pace.adjust(Waiting::ForNobody, stage.now);
    // What is left of the second takes half as long.
    stage.now += (Duration::from_secs(1) - PACE_STEP) / 2 - MILLISECOND;
    assert!(!stage.may_speak(&loud));
    stage.now += MILLISECOND;
    assert!(stage.may_speak(&loud));
}

#[test]
fn nobody_waits_for_stuck_members() {
    let stage = Stage::paced();
    let (bell, waker) = bell();
    let mut loud = stage.voice(1);
    stage.speak(&mut loud, 1_000_000);
    assert!(stage.poll(&loud, &mut Context::from_waker(&waker)).is_pending());
    assert!(!stage.pace.adjust(Waiting::InVain, stage.now));
    assert!(!stage.pace.is_paced());
    assert_eq!(bell.0.load(Relaxed), 1);
    // It begins anew, at the lowest rate.
    stage.pace.begin(stage.now);
    assert!(stage.pace.is_paced());
}

#[test]
fn what_was_read_counts_half_as_much_after_a_half_life() {
    let mut said = Said { bytes: 1000, age: 3 };
    assert_eq!([3, 4, 5, 12, 13, 1000, u32::MAX].map(|age| said.at(age)), [1000, 500, 250, 1, 0, 0, 0]);
    assert_eq!(said.at(2), 1000);
    said.add(10, 4);
    assert_eq!(said.at(4), 510);
    said.add(usize::MAX, 5);
    assert_eq!(said.at(6), u32::MAX >> 1);
}
