//! The server as a program: its options, output, signals, memory and open files.

use crate::DEADLINE;
use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// Linux counts processor time in these units on every machine.
const TICKS_PER_SECOND: u64 = 100;

/// The path of the program. A test has it in `CARGO_BIN_EXE_switchboard`.
#[derive(Clone, Copy, Debug)]
pub struct Executable<P>(pub P);

impl<P: AsRef<OsStr>> Executable<P> {
    /// A command that isn't running yet, with the default log settings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.0.as_ref());
        command.env_remove("RUST_LOG").env_remove("RUST_LOG_STYLE");
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the program until it ends by itself. Returns its exit status, standard output and standard error.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        run(&mut self.command(arguments))
    }

    /// A command that isn't running yet, for a program that may have this number of files open.
    #[cfg(unix)]
    pub fn command_with_open_files(&self, most: usize, arguments: &[&str]) -> Command {
        self.command_after(&format!("ulimit -n {most}"), arguments)
    }

    /// A command that isn't running yet, for a program that ignores SIGHUP, as under `nohup`.
    #[cfg(unix)]
    pub fn command_without_hangup(&self, arguments: &[&str]) -> Command {
        self.command_after("trap '' HUP", arguments)
    }

    /// A command that a shell begins with a step of its own.
    #[cfg(unix)]
    fn command_after(&self, step: &str, arguments: &[&str]) -> Command {
        let mut command = Executable("/bin/sh").command(&["-c", &format!("{step} && exec \"$0\" \"$@\"")]);
        command.arg(self.0.as_ref()).args(arguments);
        command
    }

    /// Starts the program on a free port of 127.0.0.1.
    #[track_caller]
    pub fn start(&self, arguments: &[&str]) -> Program {
        let arguments = [&["--host", "127.0.0.1", "--port", "0"], arguments].concat();
        Program::spawn(&mut self.command(&arguments)).expect("the program starts")
    }
}

/// Runs a command until it ends by itself. Returns its exit status, standard output and standard error.
#[track_caller]
pub fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let mut child = Unstarted(Some(command.spawn().expect("the program starts")));
    wait(child.0.as_mut().expect("it has just been put in"), DEADLINE);
    let child = child.0.take().expect("it is taken only here");
    let Output { status, stdout, stderr } = child.wait_with_output().expect("the program's output");
    let text = |bytes| String::from_utf8(bytes).expect("output in UTF-8");
    (status.code(), text(stdout), text(stderr))
}

/// The program while it serves. Dropping it kills it.
pub struct Program {
    child: Child,
    /// The first line of its standard output.
    pub announcement: String,
    pub address: SocketAddr,
    output: Option<BufReader<ChildStdout>>,
    log: Receiver<String>,
}

/// What the program uses at one moment (Linux: from `/proc`).
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Memory in RAM, in bytes.
    pub resident: usize,
    /// Open files, sockets included.
    pub open_files: usize,
    /// Processor time since the start.
    pub processor: Duration,
}

impl Display for Usage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { resident, open_files, processor } = self;
        write!(f, "{} KiB, {open_files} open files, {:.1} s", resident / 1024, processor.as_secs_f64())
    }
}

impl Program {
    /// Runs a command, and waits until it has announced its address.
    ///
    /// # Errors
    /// The command can't be run, or announces no address in time.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut child = Unstarted(Some(command.spawn()?));
        let started = child.0.as_mut().expect("it has just been put in");
        let stdout = BufReader::new(started.stdout.take().ok_or_else(|| io::Error::other("stdout isn't piped"))?);
        let log = started.stderr.take().map_or_else(|| mpsc::channel().1, lines);
        let (announcement, output) = first_line(stdout)?;
        let address = announcement
            .split_once("http://")
            .and_then(|(_, rest)| rest.split(' ').next())
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| io::Error::other(format!("no address in {announcement:?}")))?;
        let child = child.0.take().expect("it is taken only here");
        Ok(Self { child, announcement, address, output: Some(output), log })
    }

    /// Returns the next log line that contains `part`.
    #[track_caller]
    pub fn log_line(&self, part: &str) -> String {
        let start = Instant::now();
        let mut before = Vec::new();
        loop {
            let left = DEADLINE.saturating_sub(start.elapsed());
            match self.log.recv_timeout(left) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => before.push(line),
                Err(_) => panic!("no log line contains {part:?}, only {before:#?}"),
            }
        }
    }

    /// The remaining log lines. Waits until the program has ended.
    pub fn rest_of_log(&self) -> Vec<String> {
        self.log.iter().collect()
    }

    /// Its standard output after the first line. Waits until the program has ended.
    pub fn rest_of_output(&mut self) -> String {
        let mut rest = String::new();
        let output = self.output.as_mut().expect("standard output isn't closed");
        output.read_to_string(&mut rest).expect("output in UTF-8");
        rest
    }

    /// Closes the pipe that its standard output goes to.
    pub fn close_output(&mut self) {
        self.output = None;
    }

    /// Waits for its end. Returns how it ended and how long that took.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> (ExitStatus, Duration) {
        wait(&mut self.child, deadline)
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("a running program");
    }

    /// Sends SIGINT.
    #[cfg(unix)]
    pub fn interrupt(&self) {
        self.signal(rustix::process::Signal::INT);
    }

    /// Sends SIGTERM.
    #[cfg(unix)]
    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Sends SIGHUP.
    #[cfg(unix)]
    pub fn hang_up(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    /// Sends SIGSTOP: its sockets stay open, and it does nothing.
    #[cfg(unix)]
    pub fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Sends SIGCONT, after which it goes on.
    #[cfg(unix)]
    pub fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, signal).expect("a running program");
    }

    /// Limits the number of files it may have open from now on.
    #[cfg(target_os = "linux")]
    pub fn limit_open_files(&self, most: usize) {
        let process = rustix::process::Pid::from_child(&self.child);
        let most = Some(most as u64);
        let limit = rustix::process::Rlimit { current: most, maximum: most };
        rustix::process::prlimit(Some(process), rustix::process::Resource::Nofile, limit).expect("a lower limit");
    }

    /// Reads what it uses.
    ///
    /// # Errors
    /// The program has ended, or there is no `/proc`.
    pub fn usage(&self) -> io::Result<Usage> {
        let status = fs::read_to_string(self.proc("status"))?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<usize>().ok())
            .ok_or_else(|| io::Error::other("no VmRSS"))?;
        // The name in parentheses is the second field; utime and stime are fields 14 and 15.
        let stat = fs::read_to_string(self.proc("stat"))?;
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Usage {
            resident: resident * 1024,
            open_files: fs::read_dir(self.proc("fd"))?.count(),
            processor: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
        })
    }

    fn proc(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.child.id())
    }

    /// Memory in RAM, in bytes.
    #[track_caller]
    pub fn resident(&self) -> usize {
        self.usage().expect("a running program").resident
    }

    /// Open files, sockets included.
    #[track_caller]
    pub fn open_files(&self) -> usize {
        self.usage().expect("a running program").open_files
    }

    /// Waits until at most `open_files` are open or the time is over. Returns what the program uses then.
    ///
    /// # Errors
    /// The program has ended, or there is no `/proc`.
    pub async fn settle(&self, open_files: usize, within: Duration) -> io::Result<Usage> {
        const PAUSE: Duration = Duration::from_millis(10);
        let start = Instant::now();
        loop {
            let usage = self.usage()?;
            if usage.open_files <= open_files || start.elapsed() > within {
                return Ok(usage);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A program that hasn't announced its address yet. Dropping it kills it.
struct Unstarted(Option<Child>);

impl Drop for Unstarted {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(end);
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// Reads one line under a deadline, which a pipe has none of.
fn first_line<R: BufRead + Send + 'static>(mut reader: R) -> io::Result<(String, R)> {
    let (read, first) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let result = reader.read_line(&mut line);
        // An error means that the line came too late.
        let _ = read.send(result.map(|_| (line.trim_end_matches('\n').to_owned(), reader)));
    });
    first.recv_timeout(DEADLINE).map_err(|_| io::Error::other("the program announces no address"))?
}

/// Reads lines as they arrive, so that the program never waits for its reader.
fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (line, lines) = mpsc::channel();
    thread::spawn(move || {
        for read in BufReader::new(output).lines() {
            if line.send(read.expect("a log in UTF-8")).is_err() {
                break;
            }
        }
    });
    lines
}

#[track_caller]
fn wait(child: &mut Child, deadline: Duration) -> (ExitStatus, Duration) {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child process") {
            return (status, start.elapsed());
        }
        assert!(start.elapsed() < deadline, "the program doesn't end");
        thread::sleep(Duration::from_millis(5));
    }
}
