//! The options of a command that Python's tests do not reach, and process groups.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

use std::future::Future;
use std::io::{ErrorKind, Read, Write};
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
use std::os::fd::{AsRawFd, OwnedFd};
#[cfg(target_os = "linux")]
use std::os::unix::fs::MetadataExt;

use procio::{Command, Handle, Reactor, SpawnError, Stage, Stdio};

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
        let mut child = command.spawn(&handle).await.unwrap();
        let output = child.communicate(None).await.unwrap();
        String::from_utf8(output.stdout).unwrap()
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

/// FreeBSD has no more than the first three there.
#[test]
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn a_descriptor_is_passed_and_no_other() {
    let (reader, writer) = std::io::pipe().unwrap();
    let (passed, kept) = (OwnedFd::from(reader), OwnedFd::from(writer));
    let (number, other) = (passed.as_raw_fd(), kept.as_raw_fd());
    let mut command = sh(&format!(
        "ls /dev/fd/{number} && ! ls /dev/fd/{other} 2>/dev/null"
    ));
    command.stderr(Stdio::null()).pass_fd(passed);
    assert_eq!(output(&mut command), format!("/dev/fd/{number}\n"));
}

#[test]
fn a_hook_runs_in_the_child_and_its_error_is_that_of_the_start() {
    let mut command = sh("umask");
    // SAFETY: makes no call.
    unsafe { command.pre_exec(|| Ok(())) };
    assert_eq!(output(command.umask(0o027)), "0027\n");
    // SAFETY: makes no call.
    unsafe { command.pre_exec(|| Err(std::io::Error::from_raw_os_error(13))) };
    let error = run(async |handle| command.spawn(&handle).await.unwrap_err());
    assert_eq!(error.stage(), Stage::PreExec);
    assert_eq!(error.io_error().kind(), ErrorKind::PermissionDenied);
}

#[cfg(target_os = "linux")]
fn succeeds(command: &Command) -> bool {
    run(async |handle| {
        let child = command.spawn(&handle).await.unwrap();
        child.wait().await.unwrap().success()
    })
}

fn error(command: &Command) -> SpawnError {
    run(async |handle| command.spawn(&handle).await.unwrap_err())
}

#[test]
fn all_hooks_run_in_their_order_until_one_fails() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = sh("true");
    for (byte, errno) in [(b'a', None), (b'b', None), (b'c', Some(13)), (b'd', None)] {
        let mut writer = writer.try_clone().unwrap();
        // SAFETY: write(2) only.
        unsafe {
            command.pre_exec(move || {
                writer.write_all(&[byte])?;
                errno.map_or(Ok(()), |errno| {
                    Err(std::io::Error::from_raw_os_error(errno))
                })
            })
        };
    }
    let failed = error(&command);
    assert_eq!(failed.stage(), Stage::PreExec);
    assert_eq!(failed.io_error().raw_os_error(), Some(13));
    drop((command, writer));
    let mut ran = Vec::new();
    reader.read_to_end(&mut ran).unwrap();
    assert_eq!(ran, b"abc");
}

#[test]
fn a_hook_that_fails_without_a_number_is_einval() {
    let mut command = sh("true");
    // SAFETY: makes no call.
    unsafe { command.pre_exec(|| Err(ErrorKind::Other.into())) };
    assert_eq!(error(&command).io_error().raw_os_error(), Some(22));
}

/// A second copy of this program would write into the pipe, too.
#[test]
fn a_hook_that_panics_aborts_the_child_and_does_not_return_into_a_copy_of_the_program() {
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let mut command = sh("true");
    // SAFETY: the panic is what is tested.
    unsafe { command.pre_exec(|| panic!("on purpose")) };
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        run(async |handle| {
            let child = command.spawn(&handle).await.unwrap();
            child.wait().await.unwrap()
        })
    }));
    writer.write_all(b"x").unwrap();
    drop(writer);
    assert_eq!(unwound.unwrap().signal(), Some(6));
    let mut written = Vec::new();
    reader.read_to_end(&mut written).unwrap();
    assert_eq!(written, b"x");
}

#[test]
fn what_is_shown_of_a_command_has_no_values_of_variables() {
    let mut command = Command::new("program");
    command.arg("word").env("TOKEN", "secret").current_dir("/x");
    let shown = format!("{command:?}");
    for part in ["program", "word", "TOKEN", "/x"] {
        assert!(shown.contains(part), "{shown}");
    }
    assert!(
        !shown.contains("secret") && !shown.contains("PATH"),
        "{shown}"
    );
}

#[test]
fn the_environment_is_that_of_the_start() {
    let mut command = sh("echo $PROCIO_TEST_LATE $PROCIO_TEST_SET");
    command.env("PROCIO_TEST_SET", "set");
    // SAFETY: the tests of this file read the environment by std alone.
    unsafe { std::env::set_var("PROCIO_TEST_LATE", "late") };
    assert_eq!(output(&mut command), "late set\n");
}

/// The kernel counts the memory that was shared before exec.
#[test]
fn a_peak_that_is_not_above_the_parents_is_not_known() {
    let mut ballast = vec![1u8; 64 << 20];
    ballast.fill(2);
    let usage = |command: &mut Command| {
        run(async |handle| {
            let child = command.spawn(&handle).await.unwrap();
            child.wait().await.unwrap();
            child.usage().unwrap()
        })
    };
    if cfg!(all(target_os = "linux", not(procio_kqueue))) {
        assert_eq!(usage(&mut Command::new("true")).max_resident, None);
    }
    let mut large = Command::new("dd");
    large.args([
        "if=/dev/zero",
        "of=/dev/null",
        "bs=400M",
        "count=1",
        "status=none",
    ]);
    assert!(usage(&mut large).max_resident.unwrap() > 300 << 20);
    assert_eq!(ballast.last(), Some(&2));
}

/// As std: what root drops, it drops with its groups.
#[test]
#[cfg(target_os = "linux")]
fn another_user_has_no_groups_unless_they_are_given() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    const AGAIN: &str = "PROCIO_TEST_GROUPS";
    if std::env::var_os(AGAIN).is_none() {
        // In a process that has groups to drop.
        let mut command = Command::new(std::env::current_exe().unwrap());
        let name = "another_user_has_no_groups_unless_they_are_given";
        command.args(["--exact", name]).env(AGAIN, "1");
        command.groups([7, 8]).stdout(Stdio::null());
        assert!(succeeds(&command));
        return;
    }
    let groups = |command: &mut Command| output(command).trim().to_owned();
    let show = "sed -n 's/^Groups:[[:space:]]*//p' /proc/self/status";
    assert_eq!(groups(sh(show).uid(65534)), "");
    assert_eq!(groups(sh(show).uid(65534).gid(65534)), "");
    assert_eq!(groups(sh(show).uid(65534).groups([9])), "9");
    assert_eq!(groups(&mut sh(show)), "7 8");
    assert_eq!(groups(sh(show).gid(65534)), "7 8");
}

/// The end of the output is the end of everybody who has it.
#[test]
fn a_group_is_ended_as_a_whole() {
    for session in [false, true] {
        run(async |handle| {
            let mut command = sh("sleep 1000 & sleep 1000 & echo ready; wait");
            match session {
                true => command.setsid(true),
                false => command.process_group(0),
            };
            let mut child = command.spawn(&handle).await.unwrap();
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
        let mut child = command.process_group(0).spawn(&handle).await.unwrap();
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
            .await
            .unwrap();
        assert_eq!(
            child.signal_group(9).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert_eq!(child.try_wait(), None);
        child.start_kill().unwrap();
        assert_eq!(child.wait().await.unwrap().signal(), Some(9));
    });
}

#[test]
fn a_child_is_killed_when_it_is_dropped_if_that_was_asked_for() {
    run(async |handle| {
        let mut command = sh("echo ready; exec sleep 1000");
        let mut child = command.kill_on_drop(true).spawn(&handle).await.unwrap();
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
