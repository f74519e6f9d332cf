//! The command line. Each option is described once; `--help` and the parser both use that description.

use crate::listen::Host;
use lexopt::prelude::{Long, Short, Value, ValueExt};
use std::fmt::{Display, Write};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use switchboard::limits::cluster::LARGEST_MESSAGE;
use switchboard::limits::{LimitOption, Limits, MOST_THREADS, SPREAD_AFTER};
use switchboard::server::shared::Options;

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// Serve.
    Serve(Box<Arguments>),
    /// `switchboard accept KEY`
    Accept(String),
    /// `switchboard frame [HEX]...`. If the text is empty, the bytes are on standard input.
    Frame(String),
    /// `switchboard health URL`
    Health(String),
    /// `--help` or `--version`: print this.
    Print(String),
}

/// The port if no option sets it.
pub const DEFAULT_PORT: u16 = 8000;

/// Where to listen, and the settings of the server.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// The hosts to listen on.
    pub hosts: Vec<Host>,
    /// The port; 0 picks a free one. `None` means [`DEFAULT_PORT`].
    pub port: Option<u16>,
    /// Whether to listen on the socket that is standard input, instead of hosts and a port.
    pub stdin_socket: bool,
    /// Whether `GET /lifecycle` is on. `None` means on when listening on loopback alone.
    lifecycle: Option<bool>,
    /// The same for `GET /metrics`.
    metrics: Option<bool>,
    /// The settings of the server.
    pub options: Options,
}

impl Arguments {
    /// Sets what depends on whether only this machine can connect.
    pub fn set_loopback_only(&mut self, loopback_only: bool) {
        self.options.admission.loopback_only = loopback_only;
        self.options.lifecycle = self.lifecycle.unwrap_or(loopback_only);
        self.options.metrics = self.metrics.unwrap_or(loopback_only);
    }

    /// Whether `GET /lifecycle` is off because other machines can connect, and not because an option says so.
    pub fn hides_lifecycle(&self) -> bool {
        self.lifecycle.is_none() && !self.options.lifecycle
    }

    /// The same for `GET /metrics`.
    pub fn hides_metrics(&self) -> bool {
        self.metrics.is_none() && !self.options.metrics
    }
}

/// One option: its name without the dashes, the name of its value, its help, and what it sets.
struct Opt {
    name: &'static str,
    value: &'static str,
    help: String,
    set: Set,
}

enum Set {
    Flag(fn(&mut Arguments)),
    Value(fn(&mut Arguments, &str) -> Result<(), String>),
    Limit(&'static LimitOption),
}

fn options() -> Vec<Opt> {
    let default = Arguments::default();
    let value = |name, value, help: &str, default: &dyn Display, set| {
        let help = format!("{help} [default: {default}]");
        Opt { name, value, help, set: Set::Value(set) }
    };
    let mut options = vec![
        value(
            "host",
            "ADDR",
            "address or name to listen on; may be repeated",
            &"127.0.0.1 and ::1",
            |arguments, text| {
                arguments.hosts.push(parse(text)?);
                Ok(())
            },
        ),
        value("port", "N", "0 picks a free port; the printed URL tells which", &DEFAULT_PORT, |arguments, text| {
            arguments.port = Some(number(text, 0..=u16::MAX)?);
            Ok(())
        }),
        Opt {
            name: "stdin-socket",
            value: "",
            help: "listen on the TCP socket on standard input, as systemd passes it".into(),
            set: Set::Flag(|arguments| arguments.stdin_socket = true),
        },
        value(
            "threads",
            "N",
            &format!("threads that serve connections; the first {SPREAD_AFTER} connections share one"),
            &default.options.threads,
            |arguments, text| {
                arguments.options.threads = number(text, 1..=MOST_THREADS)?;
                Ok(())
            },
        ),
        value(
            "allow-origin",
            "ORIGIN",
            "allow connections from pages of this origin, and requests for its host; may be repeated; * for any",
            &"the server's own page",
            |arguments, text| {
                arguments.options.admission.allowed.push(parse(text)?);
                Ok(())
            },
        ),
    ];
    options.push(value(
        "trust-proxy",
        "ADDR",
        "believe this proxy's X-Forwarded-For or Forwarded, and log its clients' addresses; may be repeated",
        &"none",
        |arguments, text| {
            let address: IpAddr = text.parse().map_err(|_| "must be an IP address")?;
            arguments.options.trusted_proxies.push(address.to_canonical());
            Ok(())
        },
    ));
    options.extend(Limits::OPTIONS.iter().map(limit));
    options.push(Opt {
        name: "explain",
        value: "",
        help: "print the steps of every connection".into(),
        set: Set::Flag(|arguments| arguments.options.explain = true),
    });
    options.push(value(
        "redis",
        "URL",
        "share the room with all servers that have the same redis://HOST:PORT/ROOM; needs a build with --features redis",
        &"none",
        |arguments, text| {
            arguments.options.redis = Some(parse(text)?);
            Ok(())
        },
    ));
    options.push(value(
        "lifecycle",
        "on|off",
        "GET /lifecycle: the same steps as a text/event-stream; GET /members: who is in the room",
        &"on when listening on loopback alone",
        |arguments, text| {
            arguments.lifecycle = Some(on_or_off(text)?);
            Ok(())
        },
    ));
    options.push(value(
        "metrics",
        "on|off",
        "GET /metrics: counters for Prometheus",
        &"on when listening on loopback alone",
        |arguments, text| {
            arguments.metrics = Some(on_or_off(text)?);
            Ok(())
        },
    ));
    options
}

fn limit(option: &'static LimitOption) -> Opt {
    let default = (option.get)(&Limits::default()).to_string();
    let help = format!("{} [default: {}]", option.help, option.default.unwrap_or(&default));
    Opt { name: option.name, value: option.value, help, set: Set::Limit(option) }
}

/// The width of `--help`, in columns.
const WIDTH: usize = 100;

/// The column where the help of an option begins.
const HELP_COLUMN: usize = 32;

/// The text of `--help`.
pub fn help() -> String {
    let mut text = String::from(
        "A real-time chat over WebSockets: the page at /, the chat at /ws/{client_id}, an echo at /echo.\n\n\
         Usage: switchboard [OPTIONS]\n       \
         switchboard accept KEY    compute Sec-WebSocket-Accept for a key, step by step\n       \
         switchboard frame [HEX]   decode a client's frames, from here or from standard input\n       \
         switchboard health URL    exit with 0 if the server answers 200, and otherwise with 1\n\n\
         Options:\n",
    );
    for Opt { name, value, help, .. } in options() {
        describe(&mut text, &format!("      --{name} {value}"), &help);
    }
    describe(&mut text, "  -h, --help", "print this help");
    describe(&mut text, "  -V, --version", "print the version");
    text + "\nRUST_LOG sets the level of the log: off, warn, info (the default), debug.\n"
}

/// Writes an option and its help, wrapped. The default stays on one line.
fn describe(text: &mut String, option: &str, help: &str) {
    let mut line = format!("{:<HELP_COLUMN$}", option.trim_end());
    let (meaning, default) = help.split_at(help.find('[').unwrap_or(help.len()));
    for word in meaning.split_whitespace().chain([default]) {
        if line.chars().count() + word.chars().count() > WIDTH {
            let _ = writeln!(text, "{}", line.trim_end());
            line = " ".repeat(HELP_COLUMN);
        }
        line += word;
        line.push(' ');
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

/// Parses the command line. `max_connections` is the value of that limit if no option sets it.
///
/// # Errors
/// An unknown option or argument, a missing or invalid value, or limits that contradict each other.
pub fn command(mut parser: lexopt::Parser, max_connections: usize) -> Result<Command, lexopt::Error> {
    let mut arguments = Arguments::default();
    arguments.options.limits.max_connections = max_connections;
    let options = options();
    while let Some(argument) = parser.next()? {
        match argument {
            Value(command) if command == "accept" => return accept_key(&mut parser),
            Value(command) if command == "frame" => return frame(&mut parser),
            Value(command) if command == "health" => return health(&mut parser),
            Long("help") | Short('h') => return Ok(Command::Print(help())),
            Long("version") | Short('V') => {
                return Ok(Command::Print(format!("switchboard {}\n", env!("CARGO_PKG_VERSION"))));
            }
            Long(name) => match options.iter().find(|option| option.name == name) {
                Some(option) => option.take(&mut parser, &mut arguments)?,
                None => return Err(unexpected(argument)),
            },
            other => return Err(unexpected(other)),
        }
    }
    let Arguments { hosts, port, stdin_socket, options, .. } = &mut arguments;
    options.limits.check().map_err(|error| lexopt::Error::Custom(error.into()))?;
    if options.redis.is_some() && options.limits.max_message_size > LARGEST_MESSAGE {
        return Err(format!("--max-message-size: must be at most {LARGEST_MESSAGE} with --redis").into());
    }
    if *stdin_socket && (!hosts.is_empty() || port.is_some()) {
        return Err("--stdin-socket: the socket has an address already, so --host and --port are not allowed".into());
    }
    if hosts.is_empty() {
        hosts.push(Host::loopback());
    }
    Ok(Command::Serve(Box::new(arguments)))
}

impl Opt {
    fn take(&self, parser: &mut lexopt::Parser, arguments: &mut Arguments) -> Result<(), lexopt::Error> {
        if let Set::Flag(set) = self.set {
            set(arguments);
            return Ok(());
        }
        let text = parser.value()?.string()?;
        let set = match &self.set {
            Set::Flag(_) => Ok(()),
            Set::Value(set) => set(arguments, &text),
            Set::Limit(limit) => {
                number(&text, limit.range.clone()).map(|number| (limit.set)(&mut arguments.options.limits, number))
            }
        };
        set.map_err(|error| format!("--{} {text}: {error}", self.name).into())
    }
}

fn parse<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

fn number<T>(text: &str, range: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("must be a number from {} to {}", range.start(), range.end())),
    }
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("must be on or off".into()),
    }
}

/// `switchboard accept KEY`
fn accept_key(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let Some(mut words) = words(parser, 1)? else { return Ok(Command::Print(help())) };
    words.pop().map(Command::Accept).ok_or_else(|| "accept: the KEY is missing, the value of Sec-WebSocket-Key".into())
}

/// `switchboard frame [HEX]...`
fn frame(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let words = words(parser, usize::MAX)?;
    Ok(words.map_or_else(|| Command::Print(help()), |words| Command::Frame(words.join(" "))))
}

/// `switchboard health URL`
fn health(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let Some(mut words) = words(parser, 1)? else { return Ok(Command::Print(help())) };
    words.pop().map(Command::Health).ok_or_else(|| "health: the URL is missing".into())
}

/// The words after a command, at most this many. None if they ask for help.
fn words(parser: &mut lexopt::Parser, most: usize) -> Result<Option<Vec<String>>, lexopt::Error> {
    let mut words = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(None),
            Value(word) if words.len() < most => words.push(word.string()?),
            other => return Err(unexpected(other)),
        }
    }
    Ok(Some(words))
}

fn unexpected(argument: lexopt::Arg<'_>) -> lexopt::Error {
    format!("{}; --help lists what there is", argument.unexpected()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(line: &[&str]) -> Arguments {
        match command(lexopt::Parser::from_args(line), 77) {
            Ok(Command::Serve(arguments)) => *arguments,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    /// Whether the lifecycle is on, and whether it is hidden.
    fn lifecycle(line: &[&str], loopback_only: bool) -> (bool, bool) {
        let mut arguments = serve(line);
        arguments.set_loopback_only(loopback_only);
        (arguments.options.lifecycle, arguments.hides_lifecycle())
    }

    #[test]
    fn the_lifecycle_is_on_when_listening_on_loopback_alone_or_by_option() {
        assert_eq!(lifecycle(&[], true), (true, false));
        assert_eq!(lifecycle(&[], false), (false, true));
        for loopback_only in [true, false] {
            assert_eq!(lifecycle(&["--lifecycle", "on"], loopback_only), (true, false));
            assert_eq!(lifecycle(&["--lifecycle", "off"], loopback_only), (false, false));
        }
    }

    #[test]
    fn the_metrics_are_on_when_listening_on_loopback_alone_or_by_option() {
        for loopback_only in [true, false] {
            let metrics = |line: &[&str]| {
                let mut arguments = serve(line);
                arguments.set_loopback_only(loopback_only);
                (arguments.options.metrics, arguments.hides_metrics())
            };
            assert_eq!(metrics(&["--lifecycle", "on"]), (loopback_only, !loopback_only));
            assert_eq!(metrics(&["--lifecycle", "off"]), (loopback_only, !loopback_only));
            assert_eq!(metrics(&["--metrics", "on"]), (true, false));
            assert_eq!(metrics(&["--metrics", "off"]), (false, false));
        }
    }

    #[test]
    fn socket_has_an_address_already() {
        assert!(serve(&["--stdin-socket"]).stdin_socket);
        for other in [["--host", "::1"], ["--port", "8000"]] {
            let parser = lexopt::Parser::from_args([&["--stdin-socket"], &other[..]].concat());
            let error = command(parser, 77).expect_err("two addresses").to_string();
            assert_eq!(
                error,
                "--stdin-socket: the socket has an address already, so --host and --port are not allowed"
            );
        }
    }

    #[test]
    fn each_option_sets_its_own() {
        let line =
            "--host ::1 --port 9 --threads 3 --allow-origin http://a.example --explain --trust-proxy ::ffff:10.0.0.1";
        let Arguments { hosts, port, options, .. } = serve(&line.split_whitespace().collect::<Vec<_>>());
        assert_eq!((hosts, port, options.threads), (vec!["::1".parse().expect("an address")], Some(9), 3));
        assert_eq!(options.admission.allowed, ["http://a.example".parse().expect("an origin")]);
        assert_eq!(options.trusted_proxies, ["10.0.0.1".parse::<IpAddr>().expect("an address")]);
        assert!(options.explain);
    }

    #[cfg(not(feature = "redis"))]
    #[test]
    fn redis_needs_a_build_with_the_feature() {
        let parser = lexopt::Parser::from_args(["--redis", "redis://127.0.0.1/room"]);
        let error = command(parser, 77).expect_err("no support").to_string();
        assert!(error.contains("build it with `--features redis`"), "{error}");
    }

    #[cfg(feature = "redis")]
    #[test]
    fn largest_message_fits_an_entry_of_the_log() {
        let arguments = |size: usize| {
            let line = format!("--redis redis://127.0.0.1/room --max-backlog 99999999 --max-message-size {size}");
            command(lexopt::Parser::from_args(line.split(' ')), 77)
        };
        assert!(matches!(arguments(LARGEST_MESSAGE), Ok(Command::Serve(of)) if of.options.redis.is_some()));
        let error = arguments(LARGEST_MESSAGE + 1).expect_err("too large").to_string();
        assert_eq!(error, "--max-message-size: must be at most 16777216 with --redis");
    }

    #[test]
    fn each_limit_sets_its_own() {
        let defaults = serve(&[]).options.limits;
        for (index, option) in Limits::OPTIONS.iter().enumerate() {
            let value = (option.get)(&defaults) + 1;
            let limits = serve(&[&format!("--{}", option.name), &value.to_string()]).options.limits;
            for (other_index, other) in Limits::OPTIONS.iter().enumerate() {
                let expected = if index == other_index { value } else { (other.get)(&defaults) };
                assert_eq!((other.get)(&limits), expected, "{} after --{}", other.name, option.name);
            }
        }
    }

    #[test]
    fn without_options_the_defaults_hold() {
        let Arguments { hosts, port, options, .. } = serve(&[]);
        assert_eq!((hosts, port, options.threads, options.explain), (vec![Host::loopback()], None, 1, false));
        assert_eq!(options.limits, Limits { max_connections: 77, ..Limits::default() });
        assert!(options.admission.allowed.is_empty());
        assert_eq!(serve(&["--ping-interval", "0"]).options.limits.ping_interval, None);
    }

    #[test]
    fn each_limit_has_the_default_that_the_help_names() {
        for option in Limits::OPTIONS {
            let mut limits = Limits::default();
            (option.set)(&mut limits, (option.get)(&Limits::default()));
            assert_eq!(limits, Limits::default(), "{}", option.name);
        }
    }

    #[test]
    fn the_readme_has_the_text_of_help() {
        let (_, rest) = include_str!("../README.md").split_once("<!-- help -->\n```text\n").expect("the block begins");
        let (block, _) = rest.split_once("```\n").expect("the block ends");
        assert_eq!(block, help());
    }

    #[test]
    fn help_fits_its_width() {
        assert!(help().lines().all(|line| line.chars().count() <= WIDTH), "{}", help());
    }
}
