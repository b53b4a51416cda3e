//! The streams of a Rust program: bytes, ends, errors, and what a cancelled operation leaves.

#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use procio::{Child, Command, Handle, Reactor, Stdio};

fn run<F: Future>(body: impl FnOnce(Handle) -> F) -> F::Output {
    let reactor = Reactor::new().unwrap();
    reactor.run_until(body(reactor.handle())).unwrap()
}

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// With all three streams piped.
async fn start(command: &mut Command, handle: &Handle) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped());
    command.spawn(handle).await.unwrap()
}

/// Polls once and drops it: the harshest cancellation there is.
fn give_up<F: Future>(future: F) {
    let polled = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending(), "there was nothing to wait for");
}

#[test]
fn every_way_to_read() {
    run(async |handle| {
        let mut child = start(&mut sh("printf 'abcd:ef\\nline\\nrest'"), &handle).await;
        let stdout = child.stdout.as_mut().unwrap();
        let mut two = [0; 2];
        stdout.read_exact(&mut two).await.unwrap();
        assert_eq!(&two, b"ab");
        let mut bytes = Vec::new();
        assert_eq!(stdout.read_until(b':', &mut bytes).await.unwrap(), 3);
        assert_eq!(bytes, b"cd:");
        assert_eq!(stdout.read(&mut two).await.unwrap(), 2);
        assert_eq!(&two, b"ef");
        let mut line = String::new();
        assert_eq!(stdout.read_line(&mut line).await.unwrap(), 1);
        assert_eq!(stdout.read_line(&mut line).await.unwrap(), 5);
        assert_eq!(line, "\nline\n");
        assert_eq!(stdout.read_to_end(&mut bytes).await.unwrap(), 4);
        assert_eq!(bytes, b"cd:rest");
        assert_eq!(stdout.read(&mut two).await.unwrap(), 0);
        assert_eq!(stdout.read_line(&mut line).await.unwrap(), 0);
    });
}

#[test]
fn a_short_read_exact_leaves_what_there_is() {
    run(async |handle| {
        let mut child = start(&mut sh("printf abc"), &handle).await;
        let stdout = child.stdout.as_mut().unwrap();
        let error = stdout.read_exact(&mut [0; 4]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"abc");
    });
}

#[test]
fn what_is_no_text_or_too_long_stays_to_be_read() {
    run(async |handle| {
        let mut command = sh("printf '\\377\\n123456789\\n'");
        let mut child = start(command.line_limit(4), &handle).await;
        let stdout = child.stdout.as_mut().unwrap();
        let mut line = "as it was".to_owned();
        let error = stdout.read_line(&mut line).await.unwrap_err();
        assert_eq!(
            (error.kind(), &*line),
            (ErrorKind::InvalidData, "as it was")
        );
        let mut bytes = Vec::new();
        stdout.read_until(b'\n', &mut bytes).await.unwrap();
        assert_eq!(bytes, b"\xff\n");
        let error = stdout.read_until(b'\n', &mut bytes).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        stdout.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"\xff\n123456789\n");
    });
}

#[test]
fn a_read_that_is_given_up_takes_nothing() {
    run(async |handle| {
        let mut child = start(&mut sh("printf ab; read x; printf 'cd\\n'"), &handle).await;
        let mut stdin = child.stdin.take().unwrap();
        let stdout = child.stdout.as_mut().unwrap();
        let mut one = [0; 1];
        stdout.read_exact(&mut one).await.unwrap();
        give_up(stdout.read_exact(&mut [0; 4]));
        give_up(stdout.read_line(&mut String::new()));
        stdin.write_all(b"\n").await.unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).await.unwrap();
        assert_eq!((&one, &*line), (b"a", "bcd\n"));
    });
}

#[test]
fn a_communicate_that_is_given_up_loses_nothing() {
    run(async |handle| {
        let input = vec![b'x'; 1 << 20];
        let mut child = start(&mut Command::new("cat"), &handle).await;
        give_up(child.communicate(Some(input.clone())));
        give_up(child.communicate(None));
        let output = child.communicate(None).await.unwrap();
        assert!(output.stdout == input);
    });
}

#[test]
fn much_is_written_while_much_is_read() {
    run(async |handle| {
        let mut child = start(sh("cat").read_limit(64 * 1024), &handle).await;
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let data: Vec<u8> = (0..8_000_000u32).map(|i| (i * 7) as u8).collect();
        let mut back = Vec::new();
        let mut write = pin!(async {
            stdin.write_all(&data).await.unwrap();
            drop(stdin);
        });
        let mut read = Box::pin(stdout.read_to_end(&mut back));
        let mut written = false;
        std::future::poll_fn(|cx| {
            written = written || write.as_mut().poll(cx).is_ready();
            read.as_mut().poll(cx)
        })
        .await
        .unwrap();
        drop(read);
        assert!(back == data);
    });
}

#[test]
fn a_child_that_does_not_read_breaks_the_pipe() {
    run(async |handle| {
        let mut child = start(&mut sh("exec <&-; echo closed; read x"), &handle).await;
        let stdout = child.stdout.as_mut().unwrap();
        stdout.read_line(&mut String::new()).await.unwrap();
        let stdin = child.stdin.as_mut().unwrap();
        // More than the pipe takes: a child of another test that has not executed yet may hold its other end.
        let error = stdin.write_all(&vec![b'x'; 1 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        let error = stdin.write(b"x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn dropping_an_end_is_noticed_by_the_child() {
    run(async |handle| {
        let mut child = start(&mut Command::new("cat"), &handle).await;
        drop(child.stdin.take());
        assert!(child.wait().await.unwrap().success());
        let mut child = start(&mut Command::new("yes"), &handle).await;
        drop(child.stdout.take());
        assert_eq!(child.wait().await.unwrap().signal(), Some(13));
    });
}

#[test]
fn closing_comes_after_what_a_cancelled_communicate_had_to_write() {
    run(async |handle| {
        let mut child = start(&mut sh("read x; cat | wc -c"), &handle).await;
        let mut input = vec![b'x'; 1 << 20];
        input[0] = b'\n';
        give_up(child.communicate(Some(input)));
        child.stdin.as_mut().unwrap().close().await.unwrap();
        let output = child.communicate(None).await.unwrap();
        let count = String::from_utf8(output.stdout).unwrap();
        assert_eq!(count.trim(), format!("{}", (1 << 20) - 1));
    });
}

#[test]
fn a_write_that_is_given_up_leaves_nothing_to_flush() {
    run(async |handle| {
        let mut command = Command::new("sleep");
        let mut child = start(command.arg("1000").kill_on_drop(true), &handle).await;
        let stdin = child.stdin.as_mut().unwrap();
        give_up(stdin.write_all(&vec![b'x'; 1 << 20]));
        let flushed = pin!(stdin.flush()).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(flushed, Poll::Ready(Ok(()))), "{flushed:?}");
        #[cfg(unix)]
        child.stdin.take().unwrap().into_owned_fd().unwrap();
    });
}

#[test]
fn everything_fails_when_the_reactor_has_ended() {
    let reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    // One that writes would be ended by the end of the reading end.
    let child = reactor.run_until(start(Command::new("sleep").arg("1000"), &handle));
    let mut child = child.unwrap();
    let starting = Command::new("cat").spawn(&handle);
    drop(reactor);
    // What the pipe has room for can still be written; the loop would run for ever if it never failed.
    let other = Reactor::new().unwrap();
    other
        .run_until(async {
            let stdin = child.stdin.as_mut().unwrap();
            let mut data = vec![0; 1 << 20];
            assert_eq!(
                stdin.write_all(&data).await.unwrap_err().kind(),
                ErrorKind::Other
            );
            let stdout = child.stdout.as_mut().unwrap();
            let error = stdout.read_exact(&mut data).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Other);
            assert_eq!(child.wait().await.unwrap_err().kind(), ErrorKind::Other);
            let error = child.communicate(None).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Other);
            assert!(starting.await.is_err());
            assert!(Command::new("cat").spawn(&handle).await.is_err());
            child.start_kill().unwrap();
        })
        .unwrap();
}

#[test]
#[cfg(unix)]
fn an_output_that_has_bytes_is_not_given_up_as_a_descriptor() {
    use std::io::Read;
    run(async |handle| {
        let (mut end, told) = std::io::pipe().unwrap();
        let mut command = sh("head -c 200000 /dev/zero; exec sleep 1000 2>&-");
        command.stdout(Stdio::piped()).kill_on_drop(true);
        command.stderr(std::os::fd::OwnedFd::from(told));
        let mut child = command.spawn(&handle).await.unwrap();
        drop(command);
        // When all is written, what the pipe does not hold was collected.
        let written = std::thread::spawn(move || end.read(&mut [0]));
        let mut communicate = Box::pin(child.communicate(None));
        std::future::poll_fn(|cx| {
            assert!(communicate.as_mut().poll(cx).is_pending());
            if written.is_finished() {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        drop(communicate);
        let given = child.stdout.take().unwrap().into_owned_fd();
        assert!(given.is_err(), "what was collected is lost");
    });
}

/// Whether it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn what_waits_for_the_next_turn_is_woken_when_the_reactor_ends() {
    let reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let (mut writer, mut reader) = reactor
        .run_until(async {
            let reader = start(&mut sh("echo out"), &handle).await;
            reader.wait().await.unwrap();
            let writer = start(Command::new("sleep").arg("1000"), &handle).await;
            (writer, reader)
        })
        .unwrap();
    // The output of the child that has ended is known to be there.
    reactor.dispatch().unwrap();
    let (reads, writes) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
    let (for_read, for_write) = (reads.clone().into(), writes.clone().into());
    let stdin = writer.stdin.as_mut().unwrap();
    // There is room for all of it: what waits does so because it has done enough for one turn.
    let write = async { while stdin.write(b"").await.is_ok() {} };
    let mut write = Box::pin(write);
    let mut cx = Context::from_waker(&for_write);
    assert!(write.as_mut().poll(&mut cx).is_pending());
    let mut bytes = Vec::new();
    let mut read = Box::pin(reader.stdout.as_mut().unwrap().read_to_end(&mut bytes));
    let mut cx = Context::from_waker(&for_read);
    assert!(read.as_mut().poll(&mut cx).is_pending());
    drop(reactor);
    assert!(writes.0.load(Ordering::SeqCst), "the write was not woken");
    assert!(reads.0.load(Ordering::SeqCst), "the read was not woken");
    assert!(read.as_mut().poll(&mut cx).is_ready());
    drop(write);
    writer.start_kill().unwrap();
}

#[test]
#[cfg(unix)]
fn a_start_on_an_ended_reactor_makes_no_child() {
    use std::cell::Cell;
    thread_local!(static FORKS: Cell<u32> = const { Cell::new(0) });
    /// Runs in the thread that forks.
    extern "C" fn count() {
        FORKS.set(FORKS.get() + 1);
    }
    // SAFETY: the function exists as long as the process.
    assert_eq!(unsafe { libc::pthread_atfork(Some(count), None, None) }, 0);
    let ended = Reactor::new().unwrap().handle();
    let reactor = Reactor::new().unwrap();
    let mut command = Command::new("true");
    // SAFETY: does nothing. With a hook, the child is made by fork.
    unsafe { command.pre_exec(|| Ok(())) };
    let error = reactor.run_until(command.spawn(&ended)).unwrap();
    let error = error.unwrap_err();
    assert_eq!(error.stage(), procio::Stage::Setup);
    assert_eq!(error.io_error().kind(), ErrorKind::Other);
    assert_eq!(FORKS.get(), 0);
    let status = reactor.run_until(command.status(&reactor));
    assert!(status.unwrap().unwrap().success());
    assert_eq!(FORKS.get(), 1, "forks are counted");
}

#[test]
fn values_can_go_to_other_threads() {
    fn check<T: Send + Sync + std::fmt::Debug + 'static>() {}
    check::<Child>();
    check::<procio::ChildStdin>();
    check::<procio::ChildStdout>();
    check::<procio::ChildStderr>();
    check::<procio::Spawning>();
    check::<Command>();
    check::<Handle>();
    check::<Reactor>();
    check::<procio::SpawnError>();
    fn send<T: Send>(_: T) {}
    let reactor = Reactor::new().unwrap();
    let child = Command::new("true").spawn(&reactor);
    let child = reactor.run_until(child).unwrap().unwrap();
    send(child.wait());
}
