//! The feature `tokio`: every test on a runtime of one thread and on one of several.
#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::io::ErrorKind;
#[cfg(target_os = "linux")]
use std::sync::Arc;
#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicUsize, Ordering};
#[cfg(target_os = "linux")]
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use procio::tokio::Driver;
use procio::{Child, Command, Stdio};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_util::codec::{BytesCodec, FramedRead, LinesCodec};

fn runtimes() -> [Runtime; 2] {
    let one = Builder::new_current_thread().enable_all().build();
    let several = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    [one.unwrap(), several.unwrap()]
}

/// Runs a body in a task on each kind of runtime.
fn each<F>(body: impl Fn(Driver) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    for runtime in runtimes() {
        let driver = runtime.block_on(async { Driver::new().unwrap() });
        runtime.block_on(runtime.spawn(body(driver))).unwrap();
    }
}

async fn start(driver: &Driver, program: &str, args: &[&str]) -> Child {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    command.spawn(driver).await.unwrap()
}

/// Whether there is such a process, or a zombie of one.
#[cfg(unix)]
fn exists(pid: u32) -> bool {
    use rustix::process::{Pid, test_kill_process};

    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
    // EPERM, too, is said of what is there.
    test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

#[test]
fn copy_lines_and_frames() {
    each(|driver| async move {
        let mut child = start(&driver, "seq", &["100000"]).await;
        let mut copied = Vec::new();
        let stdout = child.stdout.as_mut().unwrap();
        tokio::io::copy(stdout, &mut copied).await.unwrap();
        assert_eq!(copied.len(), 588_895);
        assert!(child.wait().await.unwrap().success());

        let mut child = start(&driver, "seq", &["3"]).await;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            seen.push(line);
        }
        assert_eq!(seen, ["1", "2", "3"]);

        let child = start(&driver, "sh", &["-c", "seq 30000 >&2"]).await;
        let lines = FramedRead::new(child.stderr.unwrap(), LinesCodec::new());
        let numbers = lines.map(|line| line.unwrap().parse::<u64>().unwrap());
        assert_eq!(numbers.fold(0, |a, b| a + b).await, 30_000 * 30_001 / 2);

        let child = start(&driver, "head", &["-c", "1000000", "/dev/zero"]).await;
        let frames = FramedRead::new(child.stdout.unwrap(), BytesCodec::new());
        let sizes = frames.map(|frame| frame.unwrap().len());
        assert_eq!(sizes.fold(0, |a, b| a + b).await, 1_000_000);
    });
}

#[test]
fn reading_by_borrowed_buffer_mixes_with_the_other_ways() {
    each(|driver| async move {
        let mut child = start(&driver, "printf", &["one\\ntwo\\nthree\\nrest"]).await;
        let stdout = child.stdout.as_mut().unwrap();
        let filled = AsyncBufReadExt::fill_buf(stdout).await.unwrap();
        assert!(filled.starts_with(b"one"));
        AsyncBufReadExt::consume(stdout, 1);
        let mut line = String::new();
        stdout.read_line(&mut line).await.unwrap();
        assert_eq!(line, "ne\n");
        AsyncBufReadExt::read_line(stdout, &mut line).await.unwrap();
        let mut five = [0; 5];
        AsyncReadExt::read_exact(stdout, &mut five).await.unwrap();
        assert_eq!((&*line, &five), ("ne\ntwo\n", b"three"));
        AsyncBufReadExt::fill_buf(stdout).await.unwrap();
        let output = child.communicate(None).await.unwrap();
        assert_eq!(output.stdout, b"\nrest");
    });
}

/// Every way of reading, one after the other in an order without a pattern, gives the bytes in order.
#[test]
fn the_ways_of_reading_take_turns() {
    each(|driver| async move {
        let expected: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
        let mut child = start(&driver, "seq", &["200000"]).await;
        let mut stdout = child.stdout.take().unwrap();
        let (mut text, mut buffer) = (String::new(), vec![0; 40_000]);
        let mut state = 7u32;
        loop {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let before = text.len();
            let size = [1, 100, 8 * 1024, 40_000][(state >> 8) as usize % 4];
            match (state >> 16) % 5 {
                0 => drop(stdout.read_line(&mut text).await.unwrap()),
                1 => drop(
                    AsyncBufReadExt::read_line(&mut stdout, &mut text)
                        .await
                        .unwrap(),
                ),
                2 => {
                    let count = AsyncReadExt::read(&mut stdout, &mut buffer[..size]).await;
                    text += std::str::from_utf8(&buffer[..count.unwrap()]).unwrap();
                }
                3 => {
                    let count = stdout.read(&mut buffer[..size]).await.unwrap();
                    text += std::str::from_utf8(&buffer[..count]).unwrap();
                }
                _ => {
                    let filled = stdout.fill_buf().await.unwrap();
                    let count = filled.len().min(size);
                    text += std::str::from_utf8(&filled[..count]).unwrap();
                    stdout.consume(count);
                }
            }
            if text.len() == before {
                break;
            }
        }
        assert!(text == expected);
        assert!(child.wait().await.unwrap().success());
    });
}

/// What a runtime was told of a pipe that lost its last writer stands for ever, although there can be
/// a writer again: a reader must neither spin nor sleep on it.
#[test]
#[cfg(target_os = "linux")]
fn a_pipe_that_gets_another_writer() {
    use std::io::Write;

    each(|driver| async move {
        let mut child = start(&driver, "sh", &["-c", "read x; exec >&-; read x"]).await;
        let mut stdout = child.stdout.take().unwrap();
        let mut byte = [0];
        // Give the runtime a chance to see the hang-up without anything being read.
        let mut reading = Box::pin(AsyncReadExt::read(&mut stdout, &mut byte));
        assert!(
            std::future::poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx).is_pending())).await
        );
        drop(reading);
        let stdin = child.stdin.as_mut().unwrap();
        let name = format!("/proc/self/fd/{}", stdout.as_raw_fd().unwrap());
        stdin.write_all(b"\n").await.unwrap();
        while !is_hung_up(&name) {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await; // a turn of the runtime's driver
        let mut writer = std::fs::OpenOptions::new().write(true).open(&name).unwrap();
        let mut reading = Box::pin(AsyncReadExt::read(&mut stdout, &mut byte));
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let mut polled = 0;
        for _ in 0..20 {
            if polled == 0 || wakes.0.swap(0, Ordering::SeqCst) > 0 {
                let poll = reading.as_mut().poll(&mut Context::from_waker(&waker));
                assert!(poll.is_pending());
                polled += 1;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The event of the hang-up may come late, once.
        assert!(polled <= 2, "woken without a cause");
        writer.write_all(b"x").unwrap();
        let read = timeout(Duration::from_secs(30), reading).await;
        assert_eq!(read.unwrap().unwrap(), 1);
        assert_eq!(byte, *b"x");
    });
}

#[cfg(target_os = "linux")]
#[derive(Default)]
struct Wakes(AtomicUsize);

#[cfg(target_os = "linux")]
impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Whether nothing has the pipe open for writing.
#[cfg(target_os = "linux")]
fn is_hung_up(name: &str) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};

    let file = std::fs::File::open(name).unwrap();
    let mut watched = [PollFd::new(&file, PollFlags::IN)];
    poll(&mut watched, Some(&rustix::time::Timespec::default())).unwrap();
    watched[0].revents().contains(PollFlags::HUP)
}

/// A child that sets O_DIRECT makes a record of each write, and a read gives one: pipe2(2).
#[test]
#[cfg(target_os = "linux")]
fn records_that_came_together() {
    use rustix::fs::{OFlags, fcntl_setfl};

    each(|driver| async move {
        let script = "printf one; printf two; printf three; printf x >&2; read x; printf end";
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let packets = || Ok(fcntl_setfl(std::io::stdout(), OFlags::DIRECT)?);
        // SAFETY: one system call, which is allowed after fork.
        unsafe { command.pre_exec(packets) };
        let mut child = command.spawn(&driver).await.unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut buffer = vec![0; 64 * 1024];
        let stderr = child.stderr.as_mut().unwrap();
        AsyncReadExt::read_exact(stderr, &mut [0]).await.unwrap();
        for (record, size) in [("one", 100), ("two", 64 * 1024), ("three", 100)] {
            let read = AsyncReadExt::read(&mut stdout, &mut buffer[..size]);
            let count = timeout(Duration::from_secs(30), read)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(&buffer[..count], record.as_bytes());
        }
        let stdin = child.stdin.as_mut().unwrap();
        stdin.write_all(b"\n").await.unwrap();
        let mut end = Vec::new();
        AsyncReadExt::read_to_end(&mut stdout, &mut end)
            .await
            .unwrap();
        assert_eq!(end, b"end");
    });
}

#[test]
fn both_ways_at_once() {
    each(|driver| async move {
        let mut child = start(&driver, "cat", &[]).await;
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let data: Vec<u8> = (0..5_000_000u32).map(|i| (i * 7) as u8).collect();
        let input = data.clone();
        let writing = tokio::spawn(async move {
            tokio::io::copy(&mut &*input, &mut stdin).await.unwrap();
            stdin.shutdown().await.unwrap();
            let error = AsyncWriteExt::write_all(&mut stdin, b"x")
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        });
        let mut back = Vec::new();
        AsyncReadExt::read_to_end(&mut stdout, &mut back)
            .await
            .unwrap();
        writing.await.unwrap();
        assert!(back == data);
        assert!(child.wait().await.unwrap().success());
    });
}

#[test]
fn communicate_is_given_up_and_taken_up_again() {
    each(|driver| async move {
        let input = vec![b'x'; 3_000_000];
        let mut child = start(
            &driver,
            "sh",
            &["-c", "cat; read x </dev/null; cat /dev/null"],
        )
        .await;
        // Dropped before it could be done, each time at another point.
        tokio::select! {
            biased;
            _ = child.communicate(Some(input.clone())) => unreachable!("not at the first poll"),
            () = std::future::ready(()) => {}
        }
        let mut output = None;
        for _ in 0..20 {
            tokio::select! {
                biased;
                whole = child.communicate(None) => output = Some(whole.unwrap()),
                () = tokio::task::yield_now() => continue,
            }
            break;
        }
        let output = match output {
            Some(output) => output,
            None => child.communicate(None).await.unwrap(),
        };
        assert!(output.stdout == input);
    });
}

#[test]
fn a_timeout_loses_nothing() {
    each(|driver| async move {
        let script = "printf ab; read x; printf 'cd\\n'; read x; exit 4";
        let mut child = start(&driver, "sh", &["-c", script]).await;
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let short = Duration::from_millis(1);
        assert!(
            timeout(short, stdout.read_exact(&mut [0; 5]))
                .await
                .is_err()
        );
        assert!(timeout(short, child.wait()).await.is_err());
        stdin.write_all(b"\n").await.unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).await.unwrap();
        assert_eq!(line, "abcd\n");
        stdin.write_all(b"\n").await.unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(4));
    });
}

#[test]
#[cfg(unix)]
fn a_dropped_child_is_killed_and_reaped() {
    each(|driver| async move {
        let child = start(&driver, "sleep", &["1000"]).await;
        let pid = child.id();
        drop(child);
        while exists(pid) {
            tokio::task::yield_now().await;
        }
        // One that is being started, too.
        drop(Command::new("sleep").arg("1000").spawn(&driver));
        // And one that is not to be killed is reaped when it ends.
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .spawn(&driver)
            .await
            .unwrap();
        let (stdin, pid) = (child.stdin.take(), child.id());
        drop(child);
        assert!(exists(pid));
        drop(stdin);
        while exists(pid) {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
#[cfg(unix)]
fn a_runtime_that_ends_leaves_no_child_that_was_to_be_killed() {
    for runtime in runtimes() {
        let (mut mine, theirs) = runtime.block_on(async {
            let driver = Driver::new().unwrap();
            let (mine, theirs) = (start(&driver, "cat", &[]), start(&driver, "cat", &[]));
            let (mine, mut theirs) = (mine.await, theirs.await);
            let pid = theirs.id();
            tokio::spawn(async move { theirs.communicate(None).await });
            tokio::spawn(std::future::pending::<()>());
            (mine, pid)
        });
        drop(runtime);
        // The task was dropped, and its child with it. If it takes long to die, a thread waits.
        while exists(theirs) {
            std::thread::yield_now();
        }
        // Ours runs on, and cannot be waited for any more.
        assert!(exists(mine.id()));
        let _stdin = mine.stdin.take(); // which would end it
        let other = Builder::new_current_thread().enable_all().build().unwrap();
        let error = other.block_on(mine.wait()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Other);
        let pid = mine.id();
        drop(mine);
        while exists(pid) {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_child_may_go_to_another_runtime() {
    let [other, first] = runtimes();
    let mut child = first.block_on(async {
        let driver = Driver::new().unwrap();
        start(&driver, "sh", &["-c", "read x; echo got $x; exit 2"]).await
    });
    other.block_on(async {
        child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(b"it\n")
            .await
            .unwrap();
        let output = child.communicate(None).await.unwrap();
        assert_eq!(output.stdout, b"got it\n");
        assert_eq!(output.status.code(), Some(2));
    });
}

#[test]
fn a_driver_that_was_dropped_serves_what_it_has_and_ends() {
    each(|driver| async move {
        let handle = driver.handle();
        let mut child = start(&driver, "cat", &[]).await;
        drop(driver);
        let output = child.communicate(Some(b"still".to_vec())).await.unwrap();
        assert_eq!(output.stdout, b"still");
        drop(child);
        // The task has to notice: its end makes starts fail.
        while let Ok(starting) = Command::new("true").spawn(&handle).await {
            drop(starting);
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn many_children_at_once() {
    each(|driver| async move {
        let tasks: Vec<_> = (0..100i32)
            .map(|i| {
                let driver = driver.clone();
                tokio::spawn(async move {
                    let script = format!("cat; exit {i}");
                    let mut child = start(&driver, "sh", &["-c", &script]).await;
                    let input = i.to_string().into_bytes();
                    let output = child.communicate(Some(input.clone())).await.unwrap();
                    assert_eq!(output.stdout, input);
                    assert_eq!(output.status.code(), Some(i));
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn a_child_that_floods_starves_nobody() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let driver = Driver::new().unwrap();
        let mut child = start(&driver, "yes", &[]).await;
        let mut stdout = child.stdout.take().unwrap();
        let mut buffer = vec![0; 65536];
        assert!(stdout.read(&mut buffer).await.unwrap() > 0); // from here on the child floods
        let mut read = 0usize;
        let flood = async {
            loop {
                read += stdout.read(&mut buffer).await.unwrap();
            }
        };
        // Ends only if the reading lets the clock's turn come, again and again.
        let clock = async {
            for _ in 0..50 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = async { tokio::join!(flood, std::future::pending::<()>()); } => {}
            () = clock => {}
        }
        assert!(read > 0);
    });
}

#[test]
fn there_is_no_driver_outside_of_a_runtime() {
    assert!(Driver::new().is_err());
}

/// All of these again, with the thread that stands in where no descriptor can be watched.
#[test]
fn the_same_with_a_thread() {
    if std::env::var_os("PROCIO_POLL_THREAD").is_some() {
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .env("PROCIO_POLL_THREAD", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
}
