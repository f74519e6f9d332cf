//! The program's log on standard error, which nobody has to read.
//!
//! Logging never waits: a thread writes the lines. If it is stuck because nobody reads the terminal or the pipe, lines wait in
//! a buffer, and those that don't fit are left out and counted. On Unix, a file or a device such as `/dev/null` is always
//! written to directly, because a process with a single thread is cheaper.

use std::io::{self, Write};
use std::mem::take;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::Builder;
use switchboard::limits::LOG_BUFFER;
use switchboard::limits::stop::COMPLAINT_DEADLINE;
use switchboard::view::counters::Count;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// The log, until it ends.
#[derive(Debug)]
pub struct Logger {
    /// The queue of the thread, and what fails when the thread has ended. None if lines are written directly.
    thread: Option<(Arc<Queue>, oneshot::Receiver<()>)>,
    /// Lines that were left out.
    pub unread: Arc<Count>,
}

impl Logger {
    /// Starts the log, with the level that `RUST_LOG` sets.
    ///
    /// # Errors
    /// The thread that writes can't be started.
    pub fn start() -> io::Result<Self> {
        let mut builder = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"));
        builder.format(|line, record| writeln!(line, "{:<5} {}", record.level(), record.args()));
        let (mut thread, unread) = (None, Arc::default());
        if !takes_everything() {
            let queue = Arc::new(Queue { unread: Arc::clone(&unread), ..Queue::default() });
            thread = Some((Arc::clone(&queue), start(Arc::clone(&queue), io::stderr())?));
            builder.target(env_logger::Target::Pipe(Box::new(Entry(queue))));
        }
        builder.init();
        Ok(Self { thread, unread })
    }

    /// Writes the last lines, or gives up at the deadline.
    pub async fn end(self, deadline: Instant) {
        if let Some((queue, ended)) = self.thread {
            queue.end();
            // An error of the receiver means that all was written.
            let _ = timeout_at(deadline, ended).await;
        }
    }
}

/// Prints why the program ends, or gives up after [`COMPLAINT_DEADLINE`].
pub fn complain(error: &impl std::fmt::Display, status: u8) -> ExitCode {
    let line = format!("switchboard: {error}\n");
    // There is no place left to report an error of these writes.
    let print = |line: String| drop(io::stderr().write_all(line.as_bytes()));
    let (done, written) = mpsc::channel();
    let copy = line.clone();
    let print_copy = move || {
        print(copy);
        done.send(())
    };
    if Builder::new().spawn(print_copy).is_ok() {
        // An error means that nobody reads.
        let _ = written.recv_timeout(COMPLAINT_DEADLINE);
    } else {
        print(line);
    }
    ExitCode::from(status)
}

/// Whether standard error is a file or a device, so that a write can't wait for a reader.
#[cfg(unix)]
fn takes_everything() -> bool {
    use std::fs::File;
    use std::io::IsTerminal;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileTypeExt;
    let stderr = io::stderr();
    let file_type = stderr.as_fd().try_clone_to_owned().and_then(|file| Ok(File::from(file).metadata()?.file_type()));
    file_type.is_ok_and(|kind| kind.is_file() || kind.is_char_device() && !stderr.is_terminal())
}

#[cfg(not(unix))]
fn takes_everything() -> bool {
    false
}

/// What the thread has yet to write.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// There is something to write, or the end.
    news: Condvar,
    unread: Arc<Count>,
}

#[derive(Debug, Default)]
struct Waiting {
    text: Vec<u8>,
    /// Lines that did not fit after the text.
    left_out: u64,
    ended: bool,
}

/// Where lines enter the queue. Each is one write.
struct Entry(Arc<Queue>);

impl Write for Entry {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.add(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line, if it fits. Once a line was left out, so are all others until the thread has taken what is there, and
    /// their number is told at the right place.
    fn add(&self, line: &[u8]) {
        let mut waiting = self.lock();
        if waiting.left_out > 0 || waiting.text.len() + line.len() > LOG_BUFFER {
            waiting.left_out += 1;
            self.unread.add(1);
            return;
        }
        waiting.text.extend(line);
        drop(waiting);
        self.news.notify_one();
    }

    fn end(&self) {
        self.lock().ended = true;
        self.news.notify_one();
    }

    /// Waits for something to write. Returns None at the end.
    fn next(&self) -> Option<Vec<u8>> {
        let waiting = self.lock();
        let nothing = |waiting: &mut Waiting| waiting.text.is_empty() && !waiting.ended;
        let mut waiting = self.news.wait_while(waiting, nothing).unwrap_or_else(PoisonError::into_inner);
        let mut text = take(&mut waiting.text);
        let left_out = take(&mut waiting.left_out);
        drop(waiting);
        if left_out > 0 {
            text.extend(format!("WARN  left out {left_out} lines: nobody read the log\n").bytes());
        }
        Some(text).filter(|text| !text.is_empty())
    }
}

/// Starts the thread that writes. The receiver fails when all is written.
fn start(queue: Arc<Queue>, mut terminal: impl Write + Send + 'static) -> io::Result<oneshot::Receiver<()>> {
    let (end, ended) = oneshot::channel();
    Builder::new().name("log".into()).spawn(move || {
        while let Some(text) = queue.next() {
            // There is no place left to report an error.
            let _ = terminal.write_all(&text);
        }
        drop(end);
    })?;
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::time::Duration;

    const DEADLINE: Duration = Duration::from_secs(5);

    /// A terminal whose writes wait for a reader.
    struct Terminal(SyncSender<String>);

    impl Write for Terminal {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let written = String::from_utf8_lossy(text).into_owned();
            self.0.send(written).map_err(io::Error::other)?;
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn started() -> (Entry, Receiver<String>, oneshot::Receiver<()>) {
        let queue = Arc::new(Queue::default());
        let (terminal, reader) = sync_channel(0);
        let ended = start(Arc::clone(&queue), Terminal(terminal)).expect("a thread");
        (Entry(queue), reader, ended)
    }

    fn add(entry: &mut Entry, line: &str) {
        entry.write_all(line.as_bytes()).expect("a queue takes everything");
    }

    #[test]
    fn line_is_written_at_once() {
        let (mut entry, reader, _) = started();
        for line in ["one\n", "two\n"] {
            add(&mut entry, line);
            assert_eq!(reader.recv_timeout(DEADLINE).as_deref(), Ok(line));
        }
    }

    #[test]
    fn lines_that_do_not_fit_are_counted_when_there_is_room_again() {
        let (mut entry, reader, _) = started();
        add(&mut entry, "stuck\n");
        // Until the thread has taken it.
        while !entry.0.lock().text.is_empty() {
            std::thread::yield_now();
        }
        let full = "x".repeat(LOG_BUFFER);
        for line in [&*full, "left out\n", "left out too\n"] {
            add(&mut entry, line);
        }
        assert_eq!(reader.recv_timeout(DEADLINE).as_deref(), Ok("stuck\n"));
        let rest = reader.recv_timeout(DEADLINE);
        assert_eq!(rest, Ok(full + "WARN  left out 2 lines: nobody read the log\n"));
        assert_eq!(entry.0.unread.get(), 2);
        add(&mut entry, "later\n");
        assert_eq!(reader.recv_timeout(DEADLINE).as_deref(), Ok("later\n"));
    }

    #[test]
    fn end_comes_after_the_last_line() {
        let (mut entry, reader, ended) = started();
        add(&mut entry, "last\n");
        entry.0.end();
        assert_eq!(reader.recv_timeout(DEADLINE).as_deref(), Ok("last\n"));
        assert!(ended.blocking_recv().is_err());
    }
}
