//! Servers that pass, and servers with one mistake each.

use crate::tiny::{self, Trait, Trait::*};
use crate::{run, url};
use std::iter;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use test_client::server::{Limits, Server, loopback_only};

/// A server that answers nothing is found out after this time, in seconds: long, since many servers are checked at once.
const TIMEOUT: &str = "4";

#[test]
fn this_server_passes_all() {
    let server = Server::start(loopback_only(Limits::default()));
    run(&[&url(server.address)]).assert_all_passed();
}

#[test]
fn other_correct_servers_pass_all() {
    for server in [Correct, Unusual] {
        run(&["--timeout", TIMEOUT, &url(tiny::start(server))]).assert_all_passed();
    }
}

/// A server, the stage that it fails, and a part of the hint.
const MISTAKES: [(Trait, usize, &str); 41] = [
    (Silent, 1, "Does it flush what it writes?"),
    (HangsUp, 1, "What does the server print?"),
    (Rubbish, 1, "its status line"),
    (BareLines, 1, "ends with two bytes"),
    (NoPage, 1, "Which path does this request ask for"),
    (PageAsText, 1, "a header field says what it is"),
    (EndlessPage, 1, "where it ends?"),
    (UpgradesPlainRequest, 2, "this request didn't ask for it"),
    (Http10, 3, "The version at the start of the status line"),
    (DecodedKey, 3, "Is the key used as the client sent it?"),
    (FixedAccept, 3, "The first key got the right value"),
    (HexDigest, 3, "SHA-1 gives 20 bytes"),
    (NoUpgradeField, 4, "name the protocol"),
    (OffersExtension, 4, "what the client has offered"),
    (ConnectionAsWhole, 5, "a list of tokens, in any case"),
    (CaseSensitiveNames, 5, "compare the names of header fields"),
    (ConnectionBySubstring, 5, "but not the token"),
    (NoPrefix, 6, "in front of it"),
    (Masked, 6, "Which is the server?"),
    (NotUnmasked, 6, "Which bytes does it check"),
    (EchoesMasked, 6, "still masked"),
    (CountsCharacters, 6, "characters or bytes"),
    (TextWithoutFrame, 6, "These bytes are text"),
    (ReadsLittleEndian, 7, "The 7 bits say 126 here"),
    (WritesLittleEndian, 7, "In which order do the bytes of a number travel?"),
    (LosesPieces, 8, "One read may return any part of a frame"),
    (RestartsMask, 8, "Which byte of the masking key"),
    (LosesSecondFrame, 9, "What happens to the bytes after the first?"),
    (LosesEarlyFrame, 9, "Where are the bytes behind the empty line?"),
    (BroadcastsFragments, 10, "the message goes on"),
    (EmptyPong, 11, "have in common with its Ping"),
    (NoCloseReply, 12, "when it receives a Close"),
    (KeepsTcpOpen, 12, "Which side closes TCP first"),
    (SpeaksAfterClose, 12, "after its Close?"),
    (NoErrorCode, 13, "doesn't know why"),
    (UncheckedUtf8, 13, "valid UTF-8"),
    (OnlyToSender, 14, "Who has to get it?"),
    (OwnFirst, 14, "Two clients spoke at the same time"),
    (KeyedById, 14, "What is the key of your list?"),
    (KeepsTheDead, 15, "if one of its writes fails"),
    (Blocking, 16, "How long does a write take"),
];

/// Servers that are checked at the same time: most of the time goes into waiting for an answer that doesn't come.
const AT_ONCE: usize = 8;

#[test]
fn each_mistake_is_caught_at_its_stage() {
    let next = AtomicUsize::new(0);
    let wrong: Vec<String> = thread::scope(|scope| {
        let check_some = || {
            let indices = iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
            indices.map_while(|index| MISTAKES.get(index)).filter_map(check_one).collect::<Vec<_>>()
        };
        let checks: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(check_some)).collect();
        checks.into_iter().flat_map(|check| check.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Checks a server. Returns what was printed if its mistake isn't caught.
fn check_one(&(mistake, stage, hint): &(Trait, usize, &str)) -> Option<String> {
    let run = run(&["--timeout", TIMEOUT, &url(tiny::start(mistake))]);
    let caught = run.failure().is_some_and(|(at, given)| at == stage && given.contains(hint));
    (!caught || run.status != 1).then(|| format!("{mistake:?}, not at {stage}:\n{}{}", run.out, run.err))
}
