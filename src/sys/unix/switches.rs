//! Switches that force a path which this machine would not take by itself.
//!
//! They exist so that every fall-back can be run by the test suite: a path that no test forces does
//! not exist. Read once, because a process must not change its mind half-way.

use std::sync::OnceLock;

use super::os::Rung;

pub(crate) struct Config {
    /// `PROCIO_SPAWN=vfork|fork`: the first rung of the spawn ladder that is tried.
    pub first_rung: Rung,
    /// `PROCIO_PIDFD=0`: wait for each child in a thread, as on a kernel without pidfds.
    pub pidfd: bool,
    /// `PROCIO_CLONE3=0`: ask for each signal whether it is caught, as before Linux 5.5.
    #[cfg_attr(
        not(any(target_os = "linux", target_os = "android")),
        expect(dead_code)
    )]
    pub clone3: bool,
    /// `PROCIO_CLOSE_RANGE=0`: close descriptors one by one.
    pub close_range: bool,
    #[cfg(any(feature = "python", feature = "tokio"))]
    relay: bool,
    #[cfg(feature = "python")]
    lingers: bool,
}

pub(crate) fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| {
        let is = |name: &str, value: &str| std::env::var_os(name).is_some_and(|v| v == value);
        Config {
            first_rung: match () {
                #[cfg(any(target_os = "linux", target_os = "android"))]
                () if is("PROCIO_SPAWN", "vfork") => Rung::Vfork,
                () if is("PROCIO_SPAWN", "fork") => Rung::Fork,
                () => Rung::FIRST,
            },
            pidfd: !is("PROCIO_PIDFD", "0"),
            clone3: !is("PROCIO_CLONE3", "0"),
            close_range: !is("PROCIO_CLOSE_RANGE", "0"),
            // That one kqueue is woken by another is not proven on macOS.
            #[cfg(any(feature = "python", feature = "tokio"))]
            relay: is("PROCIO_RELAY", "1")
                || (cfg!(target_vendor = "apple") && !is("PROCIO_RELAY", "0")),
            #[cfg(feature = "python")]
            lingers: !is("PROCIO_LINGER", "0")
                && std::thread::available_parallelism().is_ok_and(|count| count.get() > 1),
        }
    })
}

/// `PROCIO_RELAY=1`: wake the host by a thread even where it could watch the reactor itself.
/// `PROCIO_RELAY=0`: have it watch the reactor, on macOS, where that is not yet relied on.
#[cfg(any(feature = "python", feature = "tokio"))]
pub(crate) fn relay_forced() -> bool {
    config().relay
}

/// `PROCIO_LINGER=0`: wait at once. So it is too where a child would have to wait for us to do so.
#[cfg(feature = "python")]
pub(crate) fn lingers() -> bool {
    config().lingers
}
