//! Children that no reactor has: killed, and reaped without one.

use std::time::Duration;

use crate::process::seams::ChildProcess;

/// How long the last one out waits for a killed child, before a thread takes over.
pub(super) const REAP_TIMEOUT: Duration = Duration::from_millis(100);

/// Kills a child that no reactor has, and reaps it.
pub(crate) fn kill_orphan(process: impl ChildProcess) {
    let _ = process.kill();
    reap_orphan(process);
}

/// Reaps a child that was killed: here, if it dies soon, else in a thread that ends with it. A
/// process in an uninterruptible sleep takes its time, and so does one that has become another
/// user's, which we may not kill.
pub(super) fn reap_orphan(mut process: impl ChildProcess) {
    if !matches!(process.wait_timeout(REAP_TIMEOUT), Ok(Some(_))) {
        reap_in_thread(process);
    }
}

/// Reaps a child whenever it ends. The thread owns the process, so that nothing else needs to be told.
pub(super) fn reap_in_thread(mut process: impl ChildProcess) {
    let thread = std::thread::Builder::new().name(format!("procio-reap-{}", process.pid()));
    let _ = thread
        .stack_size(64 * 1024)
        .spawn(move || process.wait_blocking());
}
