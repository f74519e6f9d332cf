//! The checker (`examples/check`): a correct server passes all stages, each classic mistake is caught at its stage with its
//! hint, and the command line.
//!
//! The checker runs inside the test process, except where its own process matters.

#![allow(clippy::unwrap_used)]

// Its `main` is the example's alone.
#[allow(dead_code)]
#[path = "../../examples/check/main.rs"]
mod check;

mod command_line;
mod json;
mod mistakes;
mod tiny;
mod tiny_handshake;
mod tiny_rules;

use std::net::SocketAddr;

/// How a run ended.
struct Run {
    status: u8,
    out: String,
    err: String,
}

/// Runs the checker.
fn run(arguments: &[&str]) -> Run {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = check::check(arguments.iter().map(Into::into), &mut out, &mut err, &check::Running::default());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { status, out: text(out), err: text(err) }
}

fn url(address: SocketAddr) -> String {
    format!("ws://{address}/ws/{{id}}")
}

impl Run {
    /// The number and the hint of the stage that failed.
    fn failure(&self) -> Option<(usize, &str)> {
        let mut lines = self.out.lines();
        let failed = lines.find(|line| line.ends_with("  FAILED"))?;
        let hint = lines.find_map(|line| line.strip_prefix("    hint      "))?;
        Some((failed.trim().split(' ').next()?.parse().ok()?, hint))
    }

    #[track_caller]
    fn assert_all_passed(&self) {
        assert_eq!((self.status, &*self.err), (0, ""), "{}", self.out);
        assert!(self.out.ends_with("\n16 of 16 stages passed\n"), "{}", self.out);
    }
}
