//! Hosts of a reactor that do what a loop or a task of one's own may do: wake in their own way, drop what they like, fork.

#![allow(clippy::unwrap_used)]
#![cfg_attr(
    windows,
    allow(unused_imports, reason = "the floods are those of a shell")
)]

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use procio::{Child, ChildStdout, Command, ExitStatus, Reactor, Stdio, is_reactor_ended};

/// Runs a test in a thread of its own, which must come to its end.
fn within_time(test: impl FnOnce() + Send + 'static) {
    let (told, ended) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        let _ = told.send(());
    });
    match ended.recv_timeout(Duration::from_secs(60)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        _ => thread.join().unwrap(),
    }
}

/// More short lines than a turn has the budget for.
#[cfg(unix)]
const LINES: usize = 100_000;

fn start(reactor: &Reactor, command: &mut Command) -> Child {
    reactor.run_until(command.spawn(reactor)).unwrap().unwrap()
}

#[cfg(unix)]
fn lines(reactor: &Reactor) -> ChildStdout {
    let script = format!("yes | head -n {LINES}");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdout(Stdio::piped());
    start(reactor, &mut command).stdout.take().unwrap()
}

#[cfg(unix)]
async fn count(mut output: ChildStdout) -> usize {
    let (mut line, mut count) = (String::new(), 0);
    while output.read_line(&mut line).await.unwrap() > 0 {
        count += 1;
        line.clear();
    }
    count
}

/// Notes that it was woken.
#[cfg(unix)]
#[derive(Default)]
struct Note(AtomicBool);

#[cfg(unix)]
impl Wake for Note {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[cfg(unix)]
#[test]
fn a_host_is_told_of_work_that_is_put_off_also_after_run_until() {
    use std::os::fd::{AsFd, AsRawFd};

    within_time(|| {
        let (reactor, host, task) = (
            Reactor::new().unwrap(),
            Arc::new(Note::default()),
            Arc::new(Note(AtomicBool::new(true))),
        );
        reactor.set_waker(&Waker::from(host.clone()));
        // As a blocking helper may do.
        let status = reactor.run_until(Command::new("true").status(&reactor));
        assert!(status.unwrap().unwrap().success());
        let mut counting = pin!(count(lines(&reactor)));
        let waker = Waker::from(task.clone());
        let mut context = Context::from_waker(&waker);
        loop {
            let mut polled = libc::pollfd {
                fd: reactor.as_fd().as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            let timeout = if task.0.load(Ordering::SeqCst) || host.0.load(Ordering::SeqCst) {
                0
            } else {
                30_000
            };
            // SAFETY: one record, which lives as long as the call.
            let ready = unsafe { libc::poll(&raw mut polled, 1, timeout) };
            assert!(ready > 0 || timeout == 0, "nothing wakes the loop");
            if host.0.swap(false, Ordering::SeqCst) || ready > 0 {
                while reactor.dispatch().unwrap() {}
            }
            if task.0.swap(false, Ordering::SeqCst)
                && let Poll::Ready(count) = counting.as_mut().poll(&mut context)
            {
                return assert_eq!(count, LINES);
            }
        }
    });
}

/// Dispatches at once, in whatever thread and wherever it is woken.
#[cfg(unix)]
struct Inline(OnceLock<Arc<Reactor>>);

#[cfg(unix)]
impl Wake for Inline {
    fn wake(self: Arc<Self>) {
        if let Some(reactor) = self.0.get() {
            reactor.dispatch().unwrap();
        }
    }
}

#[cfg(unix)]
#[test]
fn a_host_may_dispatch_in_its_waker() {
    within_time(|| {
        let reactor = Arc::new(Reactor::new().unwrap());
        let host = Arc::new(Inline(OnceLock::new()));
        let output = lines(&reactor);
        reactor.set_waker(&Waker::from(host.clone()));
        assert!(host.0.set(reactor.clone()).is_ok());
        let mut counting = pin!(count(output));
        let mut context = Context::from_waker(Waker::noop());
        let counted = loop {
            if let Poll::Ready(count) = counting.as_mut().poll(&mut context) {
                break count;
            }
            reactor.dispatch().unwrap();
            std::thread::yield_now();
        };
        assert_eq!(counted, LINES);
        reactor.set_waker(Waker::noop()); // the two keep each other
    });
}

/// All that is left of a task, whose destructor signals a child.
struct Last(Arc<Child>);

impl Wake for Last {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Last {
    fn drop(&mut self) {
        let _ = self.0.start_kill();
    }
}

#[test]
fn a_waker_that_goes_may_signal_the_child() {
    for polled_again in [false, true] {
        within_time(move || {
            let reactor = Reactor::new().unwrap();
            let child = Arc::new(start(&reactor, Command::new("sleep").arg("1000")));
            let waits = child.clone();
            let mut waiting = Box::pin(async move { waits.wait().await });
            let waker = Waker::from(Arc::new(Last(child.clone())));
            let pending = waiting
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending();
            assert!(pending);
            drop(waker);
            if polled_again {
                let mut context = Context::from_waker(Waker::noop());
                assert!(waiting.as_mut().poll(&mut context).is_pending());
            }
            drop(waiting);
            let status = reactor.run_until(child.wait()).unwrap().unwrap();
            assert!(!status.success());
        });
    }
}

#[cfg(unix)]
#[test]
fn a_forked_copy_takes_no_event_from_its_parent() {
    within_time(|| {
        let reactor = Reactor::new().unwrap();
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped());
        let mut child = start(&reactor, &mut command);
        let stdin = child.stdin.take();
        // SAFETY: the copy makes no call of the C library's that takes a lock of another thread's, but for the memory
        // of an error, which glibc and musl see to at a fork.
        let copy = unsafe { libc::fork() };
        if copy == 0 {
            let failed = reactor
                .run_until(child.wait())
                .is_err_and(|error| is_reactor_ended(&error));
            // SAFETY: ends the process.
            unsafe { libc::_exit(if failed { 7 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: the pointer is to a live number.
        assert_eq!(unsafe { libc::waitpid(copy, &raw mut status, 0) }, copy);
        assert_eq!(libc::WEXITSTATUS(status), 7);
        drop(stdin);
        assert!(reactor.run_until(child.wait()).unwrap().unwrap().success());
    });
}

#[test]
fn input_that_has_nowhere_to_go_is_an_error() {
    let reactor = Reactor::new().unwrap();
    let mut piped = Command::new("cat");
    piped.stdin(Stdio::piped());
    let mut none = Command::new("cat");
    none.stdin(Stdio::null());
    for (mut command, take) in [(none, false), (piped, true)] {
        let mut child = start(&reactor, &mut command);
        if take {
            drop(child.stdin.take());
        }
        let refused = reactor.run_until(child.communicate(Some(b"x".to_vec())));
        let kind = refused.unwrap().unwrap_err().kind();
        assert_eq!(kind, std::io::ErrorKind::InvalidInput);
        let output = reactor.run_until(child.communicate(None)).unwrap();
        assert!(output.unwrap().status.success());
    }
}

#[cfg(unix)]
#[test]
fn a_signal_that_is_none_ends_no_child() {
    let reactor = Reactor::new().unwrap();
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped());
    let mut child = start(&reactor, &mut command);
    let stdin = child.stdin.take();
    for signal in [-1, 9999] {
        let refused = reactor.run_until(child.shutdown(signal, std::future::ready(())));
        let kind = refused.unwrap().unwrap_err().kind();
        assert_eq!(kind, std::io::ErrorKind::InvalidInput);
    }
    drop(stdin);
    assert!(reactor.run_until(child.wait()).unwrap().unwrap().success());
}

#[test]
fn an_output_borrows_nothing_and_is_started_by_the_call() {
    let reactor = Arc::new(Reactor::new().unwrap());
    let (output, status) = {
        let mut command = Command::new("echo");
        command.arg("hi");
        (
            command.output(&reactor),
            command.stdout(Stdio::null()).status(&reactor),
        )
    };
    let driven = reactor.clone();
    let task = std::thread::spawn(move || driven.run_until(async { (output.await, status.await) }));
    let (output, status) = task.join().unwrap().unwrap();
    assert_eq!(output.unwrap().stdout.trim_ascii(), b"hi");
    assert!(status.unwrap().success());
}

#[test]
fn the_end_of_a_reactor_is_told_from_other_errors() {
    let reactor = Reactor::new().unwrap();
    let mut command = Command::new("cat");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut child = start(&reactor, &mut command);
    let (handle, other) = (reactor.handle(), Reactor::new().unwrap());
    drop(reactor);
    let mut byte = [0];
    let read = other.run_until(child.stdout.as_mut().unwrap().read(&mut byte));
    assert!(is_reactor_ended(&read.unwrap().unwrap_err()));
    let wait = other.run_until(child.wait()).unwrap();
    assert!(is_reactor_ended(&wait.unwrap_err()));
    let start = other.run_until(Command::new("true").spawn(&handle));
    assert!(is_reactor_ended(start.unwrap().unwrap_err().io_error()));
    assert!(!is_reactor_ended(&std::io::ErrorKind::Other.into()));
}

#[cfg(unix)]
#[test]
fn a_status_that_the_other_side_cannot_express() {
    use std::os::unix::process::ExitStatusExt;

    for raw in [0x137f, 0xffff] {
        let stopped = std::process::ExitStatus::from_raw(raw);
        assert_eq!(ExitStatus::from(stopped), ExitStatus::Lost);
    }
    for code in [256, 512, u32::MAX] {
        assert!(std::process::ExitStatus::try_from(ExitStatus::Exited(code)).is_err());
    }
    let ended = std::process::ExitStatus::try_from(ExitStatus::Exited(255)).unwrap();
    assert_eq!(ended.code(), Some(255));
}
