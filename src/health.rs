//! `switchboard health URL`: asks a server whether it is healthy. An image that contains only the server has no curl for that.

use hyper::Uri;
use std::io;
use std::time::Duration;
use switchboard::http::host::is_host;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::time::timeout;

/// Time to connect and to receive the status line. Shorter than the timeout of the health check in deploy/Dockerfile.
const DEADLINE: Duration = Duration::from_secs(3);

/// The longest status line that is read, in bytes.
const MAX_STATUS_LINE: u64 = 1024;

/// Requests the URL.
///
/// # Errors
/// Why the server is not healthy: there is no answer, or its status is not 200.
pub fn check_health(url: &str) -> Result<(), String> {
    let uri =
        parse(url).ok_or_else(|| format!("health: {url:?} is not a URL such as http://127.0.0.1:8000/healthz"))?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let answer = runtime.block_on(async { timeout(DEADLINE, ask(&uri)).await });
    // Don't wait for the thread that looks up a name.
    runtime.shutdown_background();
    let fault = match answer {
        Ok(Ok(line)) if is_ok(&line) => return Ok(()),
        Ok(Ok(line)) if line.is_empty() => "closed without an answer".into(),
        Ok(Ok(line)) => format!("answered {line:?}, not 200"),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", DEADLINE.as_secs()),
    };
    Err(format!("{uri}: {fault}"))
}

/// Parses an `http` URL. hyper alone would accept a port above 65535.
fn parse(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    (uri.scheme_str() == Some("http") && is_host(uri.authority()?.as_str())).then_some(uri)
}

/// Sends the request, and returns the first line of the answer without its end.
async fn ask(uri: &Uri) -> io::Result<String> {
    let host = uri.host().unwrap_or_default();
    let mut socket = TcpStream::connect(format!("{host}:{}", uri.port_u16().unwrap_or(80))).await?;
    let authority = uri.authority().map_or(host, |authority| authority.as_str());
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let request = format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut line = Vec::new();
    BufReader::new(socket.take(MAX_STATUS_LINE)).read_until(b'\n', &mut line).await?;
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// Whether a status line (RFC 9112 4) has the status 200.
fn is_ok(line: &str) -> bool {
    let mut words = line.split(' ');
    words.next().is_some_and(|version| version.starts_with("HTTP/1.")) && words.next() == Some("200")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_urls_are_accepted() {
        for url in ["http://localhost", "http://127.0.0.1:8000/healthz", "http://[::1]:8000/healthz?now"] {
            assert!(parse(url).is_some(), "{url}");
        }
        for url in ["", "localhost:8000", "/healthz", "https://localhost", "http://", "http://a:65536/", "http://a@b/"]
        {
            assert!(parse(url).is_none(), "{url}");
        }
    }

    #[test]
    fn only_status_200_is_healthy() {
        assert!(is_ok("HTTP/1.1 200 OK") && is_ok("HTTP/1.0 200"));
        for line in ["", "HTTP/1.1", "HTTP/1.1 2000 OK", "HTTP/1.1 204 No Content", "SSH-2.0 200", "HTTP/1.1 503 200"] {
            assert!(!is_ok(line), "{line}");
        }
    }
}
