//! What a child makes of itself, as data.
#![allow(clippy::unwrap_used)]
#![cfg(any(target_os = "linux", target_os = "android"))]

use std::io::ErrorKind;
use std::os::fd::OwnedFd;

use procio::{Command, Reactor, SpawnError, Stage};

const NOFILE: i32 = libc::RLIMIT_NOFILE as i32;

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn output(command: &mut Command) -> String {
    let reactor = Reactor::new().unwrap();
    let output = reactor
        .run_until(command.output(&reactor))
        .unwrap()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn refused(command: &Command) -> SpawnError {
    let reactor = Reactor::new().unwrap();
    reactor
        .run_until(command.spawn(&reactor))
        .unwrap()
        .unwrap_err()
}

#[test]
fn limits_niceness_and_privileges() {
    let mut command = sh("ulimit -n; ulimit -Hn; nice; grep NoNewPrivs /proc/$$/status");
    command
        .rlimit(NOFILE, 40, 50)
        .rlimit(NOFILE, 60, 70)
        .nice(9)
        .no_new_privs(true);
    assert_eq!(output(&mut command), "60\n70\n9\nNoNewPrivs:\t1\n");
}

#[test]
fn processors() {
    let mut command = sh("grep Cpus_allowed_list /proc/$$/status");
    assert_eq!(output(command.cpu_affinity([0])), "Cpus_allowed_list:\t0\n");
}

#[test]
fn a_descriptor_as_working_directory() {
    let dir = std::fs::File::open("/usr").unwrap();
    assert_eq!(
        output(sh("pwd").current_dir_fd(OwnedFd::from(dir))),
        "/usr\n"
    );
    let file = std::fs::File::open("/etc/passwd").unwrap();
    let error = refused(Command::new("true").current_dir_fd(OwnedFd::from(file)));
    assert_eq!(
        (error.stage(), error.kind()),
        (Stage::Chdir, ErrorKind::NotADirectory)
    );
}

#[test]
fn nonsense_is_refused_before_there_is_a_child() {
    let with = |change: fn(&mut Command) -> &mut Command| {
        let mut command = Command::new("true");
        change(&mut command);
        refused(&command)
    };
    for error in [
        with(|it| it.rlimit(NOFILE, 2, 1)),
        with(|it| it.nice(20)),
        with(|it| it.cpu_affinity([])),
        with(|it| it.cpu_affinity([usize::MAX])),
        with(|it| it.cgroup_kill(true)),
    ] {
        assert_eq!(
            (error.stage(), error.kind()),
            (Stage::Setup, ErrorKind::InvalidInput)
        );
    }
    let error = with(|it| it.cgroup("/no/such/group"));
    assert_eq!(
        (error.stage(), error.kind()),
        (Stage::Cgroup, ErrorKind::NotFound)
    );
}

#[test]
fn what_the_kernel_refuses_is_an_error_of_its_step() {
    let error = refused(Command::new("true").rlimit(NOFILE, u64::MAX - 1, u64::MAX - 1));
    assert_eq!(error.stage(), Stage::Limits);
    assert_eq!(
        error.to_string(),
        "could not set the resource limits: Operation not permitted (os error 1)"
    );
    let error = refused(Command::new("true").cpu_affinity([65_000]));
    assert_eq!(error.stage(), Stage::Affinity);
    let file = std::fs::File::open("/proc").unwrap();
    let error = refused(Command::new("true").cgroup_fd(OwnedFd::from(file)));
    assert_eq!(
        (error.stage(), error.kind()),
        (Stage::Cgroup, ErrorKind::NotFound)
    );
    let error = refused(Command::new("true").cgroup("/proc"));
    assert_eq!(
        (error.stage(), error.kind()),
        (Stage::Cgroup, ErrorKind::NotFound)
    );
}

/// A test runs in a thread of its own, which may end before the program.
#[test]
fn only_the_main_thread_can_tie_a_child() {
    let mut command = Command::new("true");
    command.kill_on_parent_exit(true).no_new_privs(true);
    let reactor = Reactor::new().unwrap();
    match reactor.run_until(command.spawn(&reactor)).unwrap() {
        // By its pidfd, Linux 7.1.
        Ok(child) => assert!(reactor.run_until(child.wait()).unwrap().unwrap().success()),
        Err(error) => assert_eq!(error.stage(), Stage::ParentExit),
    }
}
