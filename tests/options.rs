//! The options of a command that Python's tests do not reach, and process groups.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

use std::future::Future;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};

use procio::{Command, Handle, Reactor, Stage, Stdio};

fn run<F: Future>(body: impl FnOnce(Handle) -> F) -> F::Output {
    let reactor = Reactor::new().unwrap();
    reactor.run_until(body(reactor.handle())).unwrap()
}

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdout(Stdio::piped());
    command
}

fn output(command: &mut Command) -> String {
    run(async |handle| {
        let mut child = command.spawn(&handle).unwrap().await.unwrap();
        let output = child.communicate(None).await.unwrap();
        String::from_utf8(output.stdout.unwrap()).unwrap()
    })
}

#[test]
fn the_environment_is_built_as_by_the_standard_library() {
    let show = "echo ${ONE-none} ${TWO-none} ${PATH:+path}";
    assert_eq!(output(sh(show).env("ONE", "1")), "1 none path\n");
    let mut command = sh(show);
    command.envs([("ONE", "1"), ("TWO", "2")]).env("ONE", "3");
    assert_eq!(output(command.env_remove("TWO")), "3 none path\n");
    let mut command = sh("env | grep -cE '^(ONE|HOME)='");
    assert_eq!(
        output(
            command
                .env_clear()
                .env("ONE", "1")
                .env("PATH", "/usr/bin:/bin")
        ),
        "1\n"
    );
}

#[test]
fn a_descriptor_is_passed_and_no_other() {
    let (reader, writer) = std::io::pipe().unwrap();
    let (passed, kept) = (OwnedFd::from(reader), OwnedFd::from(writer));
    let (number, other) = (passed.as_raw_fd(), kept.as_raw_fd());
    let mut command = sh(&format!(
        "ls /proc/self/fd/{number} && ! ls /proc/self/fd/{other} 2>/dev/null"
    ));
    command.stderr(Stdio::null()).pass_fd(passed);
    assert_eq!(output(&mut command), format!("/proc/self/fd/{number}\n"));
}

#[test]
fn a_hook_runs_in_the_child_and_its_error_is_that_of_the_start() {
    let mut command = sh("umask");
    // SAFETY: makes no call.
    unsafe { command.pre_exec(|| Ok(())) };
    assert_eq!(output(command.umask(0o027)), "0027\n");
    // SAFETY: makes no call.
    unsafe { command.pre_exec(|| Err(std::io::Error::from_raw_os_error(13))) };
    let error = run(async |handle| command.spawn(&handle).unwrap().await.unwrap_err());
    assert_eq!(error.stage(), Stage::PreExec);
    assert_eq!(error.io_error().kind(), ErrorKind::PermissionDenied);
}

/// The end of the output is the end of everybody who has it.
#[test]
fn a_group_is_ended_as_a_whole() {
    for session in [false, true] {
        run(async |handle| {
            let mut command = sh("sleep 1000 & sleep 1000 & echo ready; wait");
            match session {
                true => command.new_session(true),
                false => command.process_group(0),
            };
            let mut child = command.spawn(&handle).unwrap().await.unwrap();
            let mut stdout = child.stdout.take().unwrap();
            stdout.read_line(&mut String::new()).await.unwrap();
            child.signal_group(9).unwrap();
            let mut rest = Vec::new();
            assert_eq!(stdout.read_to_end(&mut rest).await.unwrap(), 0);
            assert_eq!(child.wait().await.unwrap().signal(), Some(9));
        });
    }
}

#[test]
fn a_group_is_reached_after_its_leader_has_ended_or_else_nobody() {
    run(async |handle| {
        let mut command = sh("sleep 1000 & echo $!");
        let mut child = command
            .process_group(0)
            .spawn(&handle)
            .unwrap()
            .await
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut pid = String::new();
        stdout.read_line(&mut pid).await.unwrap();
        child.wait().await.unwrap();
        assert_eq!(child.signal(9).unwrap_err().kind(), ErrorKind::NotFound);
        match child.signal_group(9) {
            Ok(()) => {}
            // Before Linux 6.9, and without pidfds.
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotFound);
                Command::new("kill")
                    .arg(pid.trim())
                    .spawn(&handle)
                    .unwrap()
                    .await
                    .unwrap();
            }
        }
        stdout.read_to_end(&mut Vec::new()).await.unwrap();
    });
}

#[test]
fn a_child_without_a_group_of_its_own_has_none_to_signal() {
    run(async |handle| {
        let child = Command::new("sleep")
            .arg("1000")
            .spawn(&handle)
            .unwrap()
            .await
            .unwrap();
        assert_eq!(
            child.signal_group(9).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert_eq!(child.try_wait(), None);
        child.kill().unwrap();
        assert_eq!(child.wait().await.unwrap().signal(), Some(9));
    });
}

#[test]
fn a_child_is_killed_when_it_is_dropped_if_that_was_asked_for() {
    run(async |handle| {
        let mut command = sh("echo ready; exec sleep 1000");
        let mut child = command
            .kill_on_drop(true)
            .spawn(&handle)
            .unwrap()
            .await
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_line(&mut String::new()).await.unwrap();
        drop(child);
        assert_eq!(stdout.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    });
}

/// All of these again without pidfds, where a group is signalled by its number.
#[test]
fn the_same_without_pidfds() {
    if std::env::var_os("PROCIO_PIDFD").is_some() {
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .env("PROCIO_PIDFD", "0")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
}
