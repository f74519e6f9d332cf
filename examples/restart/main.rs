//! Measures a restart with many clients. Linux only, because of how the socket is passed on.

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("restart: this needs Linux");
}
