//! A change of the identity of the whole process while a start is under way. Alone in its process.
#![allow(clippy::unwrap_used)]
#![cfg(any(target_os = "linux", target_os = "android"))]

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use procio::{Command, Reactor, Stdio};

/// A file that cannot be executed until it is released: its lease is ours.
struct Withheld(File);

impl Withheld {
    /// `None` where the file system gives no leases.
    fn new(program: &Path) -> Option<Self> {
        let file = File::open(program).unwrap();
        // SAFETY: takes a handler's constant; what tells of the wish for the file is ignored.
        unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
        Withheld(file).lease(libc::F_WRLCK)
    }

    fn lease(self, kind: i32) -> Option<Self> {
        // SAFETY: takes a descriptor that is open, and no memory.
        let given = unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_SETLEASE, kind) };
        (given == 0).then_some(self)
    }
}

fn until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

fn has_a_child() -> bool {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let children = |task: fs::DirEntry| fs::read_to_string(task.path().join("children"));
    tasks
        .flatten()
        .any(|task| children(task).is_ok_and(|pids| !pids.is_empty()))
}

/// Whether a thread has a signal pending by which the C library asks it to follow a change.
fn a_thread_is_asked_to_follow() -> bool {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks.flatten().any(|task| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let pending = status
            .lines()
            .find_map(|line| line.strip_prefix("SigPnd:\t"));
        pending
            .and_then(|set| u64::from_str_radix(set, 16).ok())
            .is_some_and(|set| set & (0b11 << 32) != 0)
    })
}

/// Only the saved group is another after each change.
#[test]
fn a_change_waits_for_the_exec() {
    // SAFETY: takes no memory.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("not root: there is no other identity");
        return;
    }
    if std::env::var_os("PROCIO_SPAWN").is_some_and(|strategy| strategy == "fork") {
        eprintln!("the child has memory of its own: nothing waits for its exec");
        return;
    }
    let folder = std::env::temp_dir().join(format!("procio-identity-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    let program = folder.join("program");
    fs::copy("/bin/echo", &program).unwrap();
    // A start whose change comes early, and one with nothing going on before it, are chances of some.
    // Each is a change: what leaves everything as it was need not wait.
    for saved in 1..=50 {
        let Some(withheld) = Withheld::new(&program) else {
            eprintln!("the file system gives no leases");
            break;
        };
        judge(&program, withheld, saved);
        until(|| fs::read_dir("/proc/self/task").unwrap().count() <= 2);
    }
    fs::remove_dir_all(&folder).unwrap();
}

fn judge(program: &Path, withheld: Withheld, saved: libc::gid_t) {
    let (released, has_changed) = (AtomicBool::new(false), AtomicBool::new(false));
    let (released, has_changed) = (&released, &has_changed);
    thread::scope(|scope| {
        let change = scope.spawn(move || {
            until(has_a_child);
            let same = libc::gid_t::MAX;
            // SAFETY: takes no memory.
            assert_eq!(unsafe { libc::setresgid(same, same, saved) }, 0);
            has_changed.store(true, SeqCst);
            released.load(SeqCst)
        });
        scope.spawn(move || {
            until(|| a_thread_is_asked_to_follow() || has_changed.load(SeqCst));
            released.store(!has_changed.load(SeqCst), SeqCst);
            withheld.lease(libc::F_UNLCK).unwrap();
        });
        let reactor = Reactor::new().unwrap();
        let mut command = Command::new(program);
        command.arg("late").stdout(Stdio::piped());
        let output = reactor.run_until(command.output(&reactor));
        assert_eq!(output.unwrap().unwrap().stdout, b"late\n");
        assert!(change.join().unwrap(), "the change did not wait");
    });
}
