//! `rediss://`: the node checks the certificate of Redis.

use crate::SWITCHBOARD;
use crate::node::Node;
use crate::redis::{Redis, free_address};
use std::path::{Path, PathBuf};
use std::process::Command;
use test_client::frame::says;
use test_client::program::{Program, run};

/// Makes a key and a certificate for 127.0.0.1 that signs itself.
fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let (key, certificate) = (folder.join("key.pem"), folder.join("certificate.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=redis"]);
    openssl.args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]);
    let made = openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate).output().expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (key, certificate)
}

#[test]
fn certificate_is_checked() {
    let folder = std::env::temp_dir().join(format!("switchboard-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (key, certificate) = certificate(&folder);
    let (key, file, address) = (key.to_str().unwrap(), certificate.to_str().unwrap(), free_address());
    let port = address.port().to_string();
    let options = ["--tls-port", &port, "--tls-cert-file", file, "--tls-key-file", key, "--tls-ca-cert-file", file];
    let _redis = Redis::start(&[&options[..], &["--tls-auth-clients", "no"]].concat());
    let url = format!("rediss://{address}/room");
    let node = |trusted: Option<&Path>| {
        let mut node = SWITCHBOARD.command(&["--host", "127.0.0.1", "--port", "0", "--redis", &url]);
        node.env_remove("SSL_CERT_DIR").env_remove("SSL_CERT_FILE");
        trusted.map(|file| node.env("SSL_CERT_FILE", file));
        node
    };
    let (status, output, error) = run(&mut node(None));
    assert_eq!((status, output.as_str()), (Some(1), ""));
    assert!(error.contains("certificate"), "{error}");

    let node = Node { program: Program::spawn(&mut node(Some(&certificate))).unwrap() };
    let mut member = node.join(1);
    member.send_text("hello");
    member.expect(&says(1, "hello"));
    std::fs::remove_dir_all(&folder).unwrap();
}
