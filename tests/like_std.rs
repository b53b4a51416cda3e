//! What a program that comes from `std::process` or `tokio::process` expects.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::process as theirs;

use procio::{Command, ExitStatus, ExitStatusExt, Handle, Reactor, Stage, Stdio};

fn run<F: Future>(body: impl FnOnce(Handle) -> F) -> F::Output {
    let reactor = Reactor::new().unwrap();
    reactor.run_until(body(reactor.handle())).unwrap()
}

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn output_pipes_by_itself_and_leaves_what_was_said() {
    run(async |handle| {
        let output = sh("cat; echo out; echo err >&2; exit 3")
            .output(&handle)
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(
            (&output.stdout[..], &output.stderr[..]),
            (&b"out\n"[..], &b"err\n"[..])
        );
        let mut command = sh("echo out; echo err >&2");
        let output = command.stderr(Stdio::null()).output(&handle).await.unwrap();
        assert_eq!(
            (&output.stdout[..], &output.stderr[..]),
            (&b"out\n"[..], &b""[..])
        );
        // The command is as it was.
        let child = command.stdout(Stdio::null()).spawn(&handle).await.unwrap();
        assert!(child.stdin.is_none() && child.stdout.is_none());
        assert_eq!(child.wait_with_output().await.unwrap().stdout, b"");
        let error = Command::new("/none").output(&handle).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

#[test]
fn status_closes_what_is_piped() {
    run(async |handle| {
        let mut command = sh("cat; exit 4");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        assert_eq!(command.status(&handle).await.unwrap().code(), Some(4));
    });
}

#[test]
fn waiting_closes_the_input_unless_it_was_taken() {
    run(async |handle| {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.spawn(&handle).await.unwrap();
        assert!(child.wait().await.unwrap().success());
        let mut child = command.spawn(&handle).await.unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut wait = std::pin::pin!(child.wait());
        // The wait has begun before anything is written.
        std::future::poll_fn(|cx| {
            assert!(wait.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        stdin.write_all(b"still open").await.unwrap();
        drop(stdin);
        assert!(wait.await.unwrap().success());
    });
}

#[test]
fn a_kill_after_the_end_is_no_error() {
    run(async |handle| {
        let child = Command::new("sleep")
            .arg("1000")
            .spawn(&handle)
            .await
            .unwrap();
        child.kill().await.unwrap();
        assert_eq!(child.try_wait().unwrap().signal(), Some(9));
        child.start_kill().unwrap();
        child.kill().await.unwrap();
        assert_eq!(child.signal(15).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_pipeline_needs_no_pipe_of_ones_own() {
    run(async |handle| {
        let mut first = sh("echo one; echo two >&2");
        let mut first = first
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn(&handle)
            .await
            .unwrap();
        let stdout: Stdio = first.stdout.take().unwrap().try_into().unwrap();
        let stderr: Stdio = first.stderr.take().unwrap().try_into().unwrap();
        for (stdio, expected) in [(stdout, "one\n"), (stderr, "two\n")] {
            let output = Command::new("cat")
                .stdin(stdio)
                .output(&handle)
                .await
                .unwrap();
            assert_eq!(output.stdout, expected.as_bytes());
        }
    });
}

#[test]
fn a_pipeline_may_begin_at_its_end_or_in_std() {
    run(async |handle| {
        let mut last = Command::new("cat");
        let mut last = last
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn(&handle)
            .await
            .unwrap();
        let stdin: Stdio = last.stdin.take().unwrap().try_into().unwrap();
        assert!(
            sh("echo in")
                .stdout(stdin)
                .status(&handle)
                .await
                .unwrap()
                .success()
        );
        assert_eq!(last.wait_with_output().await.unwrap().stdout, b"in\n");
        let mut echo = theirs::Command::new("echo");
        let mut std = echo
            .arg("std")
            .stdout(theirs::Stdio::piped())
            .spawn()
            .unwrap();
        let output = Command::new("cat")
            .stdin(std.stdout.take().unwrap())
            .output(&handle)
            .await;
        assert_eq!(output.unwrap().stdout, b"std\n");
        std.wait().unwrap();
        let (ours, socket) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(
            sh("echo socket")
                .stdout(socket)
                .status(&handle)
                .await
                .unwrap()
                .success()
        );
        let mut text = String::new();
        (&ours).read_to_string(&mut text).unwrap();
        assert_eq!(text, "socket\n");
    });
}

#[test]
fn a_descriptor_that_is_given_out_blocks_and_takes_nothing_along() {
    run(async |handle| {
        let mut command = sh("echo first; read x; echo $x");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn(&handle).await.unwrap();
        let number = child.stdin.as_ref().unwrap().as_raw_fd();
        assert!(number.is_some());
        let stdout = child.stdout.take().unwrap().into_owned_fd().unwrap();
        assert!(stdout.as_raw_fd() > 2);
        let stdin = child.stdin.take().unwrap().into_owned_fd().unwrap();
        std::fs::File::from(stdin).write_all(b"second\n").unwrap();
        let mut text = String::new();
        std::fs::File::from(stdout)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "first\nsecond\n");
        assert!(child.wait().await.unwrap().success());
        // Bytes that were read already would be lost.
        let mut command = sh("echo one; echo two");
        let mut child = command.stdout(Stdio::piped()).spawn(&handle).await.unwrap();
        let mut stdout = child.stdout.take().unwrap();
        child.wait().await.unwrap();
        stdout.read_line(&mut String::new()).await.unwrap();
        assert!(stdout.into_owned_fd().is_err());
    });
}

#[test]
fn a_status_is_converted_both_ways() {
    for script in ["exit 0", "exit 255", "kill -9 $$", "kill -15 $$"] {
        let std = theirs::Command::new("sh")
            .args(["-c", script])
            .status()
            .unwrap();
        let ours = run(async |handle| sh(script).status(&handle).await.unwrap());
        assert_eq!(ExitStatus::from(std), ours);
        assert_eq!(theirs::ExitStatus::try_from(ours).unwrap(), std);
        assert_eq!(ours.code(), std.code());
        assert!(!ours.core_dumped());
    }
    let dumped = ExitStatus::from_raw(0x86);
    assert!(dumped.core_dumped());
    assert_eq!((dumped.signal(), dumped.into_raw()), (Some(6), Some(0x86)));
}

#[test]
fn an_error_has_a_kind_and_a_step() {
    let error = run(async |handle| Command::new("a\0b").spawn(&handle).await.unwrap_err());
    assert_eq!(
        (error.stage(), error.kind()),
        (Stage::Setup, ErrorKind::InvalidInput)
    );
    let error = run(async |handle| Command::new("/none").spawn(&handle).await.unwrap_err());
    assert_eq!(
        (error.stage(), error.kind()),
        (Stage::Exec, ErrorKind::NotFound)
    );
    assert_eq!(std::io::Error::from(error).raw_os_error(), Some(2));
}

#[test]
fn names_are_those_of_std() {
    run(async |handle| {
        let mut command = Command::new("/bin/sh");
        command
            .arg0("name")
            .args(["-c", "echo $0 $$; ps -o sid= -p $$ || true"])
            .setsid(true);
        assert_eq!(command.get_program(), "/bin/sh");
        let child = command.stdout(Stdio::piped()).spawn(&handle).await.unwrap();
        let id = child.id();
        let output = child.wait_with_output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with(&format!("name {id}\n")), "{text}");
    });
}

/// On a system that has pidfds, and where they are not turned off.
#[test]
fn a_pidfd_is_the_callers_own() {
    run(async |handle| {
        let mut command = Command::new("cat");
        let child = command.stdin(Stdio::piped()).spawn(&handle).await.unwrap();
        let pidfd = match child.pidfd() {
            Ok(pidfd) => pidfd,
            Err(error) => return assert_eq!(error.kind(), ErrorKind::Unsupported),
        };
        let link = std::fs::read_link(format!("/proc/self/fd/{}", pidfd.as_raw_fd())).unwrap();
        assert!(link.to_string_lossy().contains("pidfd"), "{link:?}");
        child.wait().await.unwrap();
        assert_eq!(child.pidfd().unwrap_err().kind(), ErrorKind::NotFound);
        assert!(pidfd.try_clone().is_ok());
    });
}
