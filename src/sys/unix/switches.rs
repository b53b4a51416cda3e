//! Switches that force a path which this machine would not take by itself, and what decides without them.
//!
//! They exist so that every fallback can be run by the test suite: a path that no test forces does
//! not exist. Read once, because a process must not change its mind half-way.

use std::ffi::CStr;
use std::sync::OnceLock;

use super::os::SpawnStrategy;

pub(crate) struct Switches {
    /// `PROCIO_SPAWN=vfork|fork`: the first way to make a child that is tried.
    pub first_strategy: SpawnStrategy,
    /// `PROCIO_SPAWN=posix_spawn`: what posix_spawn(3) can express is started by it, and all else by a fork.
    /// So it is on macOS without being asked for.
    #[cfg_attr(
        not(any(target_os = "linux", target_vendor = "apple", feature = "python")),
        expect(dead_code)
    )]
    pub posix_spawn: bool,
    /// `PROCIO_EXEC=libc`: execute programs by the C library's `execve`, through which preloaded libraries
    /// reach it, as `Popen` does.
    pub library_exec: bool,
    /// `PROCIO_PIDFD=0`: wait for each child in a thread, as on a kernel without pidfds.
    pub pidfd: bool,
    /// `PROCIO_CLONE3=0`: ask for each signal whether it is caught, as before Linux 5.5.
    #[cfg_attr(
        not(any(target_os = "linux", target_os = "android")),
        expect(dead_code)
    )]
    pub clone3: bool,
    /// `PROCIO_AUTOKILL=0`: have a child that is to end with us tie itself to our thread, as before
    /// Linux 7.1.
    #[cfg_attr(
        not(any(target_os = "linux", target_os = "android")),
        expect(dead_code)
    )]
    pub autokill: bool,
    /// `PROCIO_GROUP_SIGNAL=0`: signal a group by its number, as before Linux 6.9.
    #[cfg_attr(
        not(any(target_os = "linux", target_os = "android")),
        expect(dead_code)
    )]
    pub group_signal: bool,
    /// `PROCIO_SETXID_BARRIER=0`: where the process may change its identity, wait for the exec of each child.
    #[cfg_attr(
        not(any(target_os = "linux", target_os = "android")),
        expect(dead_code)
    )]
    pub setxid_barrier: bool,
    /// `PROCIO_CLOSE_RANGE=0`: close descriptors one by one.
    pub close_range: bool,
    #[cfg(any(feature = "python", feature = "tokio"))]
    poll_thread: bool,
    #[cfg(feature = "python")]
    busy_polls: bool,
}

pub(crate) fn switches() -> &'static Switches {
    static SWITCHES: OnceLock<Switches> = OnceLock::new();
    SWITCHES.get_or_init(|| {
        let is = |name: &str, value: &str| std::env::var_os(name).is_some_and(|v| v == value);
        // Without its preloaded hook a program of Termux finds no interpreter of a script.
        let library_exec =
            is("PROCIO_EXEC", "libc") || (preloaded("termux-exec") && !is("PROCIO_EXEC", "kernel"));
        // `posix_spawn` calls an `execve` that no preloaded library is in front of.
        let posix_spawn = !library_exec
            && match std::env::var_os("PROCIO_SPAWN") {
                Some(way) if way == "posix_spawn" => {
                    cfg!(any(target_os = "linux", target_vendor = "apple"))
                }
                Some(way) if way == "fork" => false,
                _ => cfg!(target_vendor = "apple"),
            };
        Switches {
            first_strategy: match () {
                #[cfg(any(target_os = "linux", target_os = "android"))]
                () if is("PROCIO_SPAWN", "vfork") => SpawnStrategy::Vfork,
                () if is("PROCIO_SPAWN", "fork") || posix_spawn => SpawnStrategy::Fork,
                () if instrumented() => SpawnStrategy::Fork,
                // The library's code would run in our memory beside us.
                #[cfg(any(target_os = "linux", target_os = "android"))]
                () if library_exec => SpawnStrategy::Vfork,
                () => SpawnStrategy::FIRST,
            },
            posix_spawn,
            library_exec,
            pidfd: !is("PROCIO_PIDFD", "0"),
            clone3: !is("PROCIO_CLONE3", "0"),
            setxid_barrier: !is("PROCIO_SETXID_BARRIER", "0"),
            autokill: !is("PROCIO_AUTOKILL", "0"),
            group_signal: !is("PROCIO_GROUP_SIGNAL", "0"),
            close_range: !is("PROCIO_CLOSE_RANGE", "0"),
            // That one kqueue is woken by another is not proven on macOS; that of libkqueue is none that the
            // kernel knows.
            #[cfg(any(feature = "python", feature = "tokio"))]
            poll_thread: is("PROCIO_POLL_THREAD", "1")
                || cfg!(procio_kqueue)
                || (cfg!(target_vendor = "apple") && !is("PROCIO_POLL_THREAD", "0")),
            #[cfg(feature = "python")]
            busy_polls: !is("PROCIO_BUSY_POLL", "0")
                && std::thread::available_parallelism().is_ok_and(|count| count.get() > 1),
        }
    })
}

/// Whether a library whose name has this in it is preloaded.
fn preloaded(name: &str) -> bool {
    std::env::var_os("LD_PRELOAD").is_some_and(|list| list.to_string_lossy().contains(name))
}

/// Whether a tool sees every access to memory, so that a child may not share ours: what a sanitizer has
/// built in keeps notes in the calling thread, and valgrind ends a program that makes such a child.
/// The sanitizer may be the program's, and not this crate's.
fn instrumented() -> bool {
    let runtime = [
        c"__asan_init",
        c"__tsan_init",
        c"__msan_init",
        c"__hwasan_init",
    ];
    // SAFETY: only looks up names.
    let linked = |name: &CStr| !unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }.is_null();
    cfg!(procio_instrumented) || preloaded("vgpreload") || runtime.into_iter().any(linked)
}

/// `PROCIO_POLL_THREAD=1`: wake the host by a thread even where it could watch the reactor itself.
/// `PROCIO_POLL_THREAD=0`: have it watch the reactor, on macOS, where that is not yet relied on.
#[cfg(any(feature = "python", feature = "tokio"))]
pub(crate) fn poll_thread_forced() -> bool {
    switches().poll_thread
}

/// `PROCIO_BUSY_POLL=0`: wait at once. So it is too where a child would have to wait for us to do so.
#[cfg(feature = "python")]
pub(crate) fn busy_polls() -> bool {
    switches().busy_polls
}
