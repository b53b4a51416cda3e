//! The crate without Python: real children, driven by `run_until`.

use procio::{Command, ExitStatus, Reactor, Stage, Stdio};

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn output_and_status() {
    let reactor = Reactor::new().unwrap();
    let mut command = sh("echo out; echo err >&2; exit 3");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = reactor
        .run_until(async {
            let mut child = command.spawn(&reactor).await.unwrap();
            child.communicate(None).await.unwrap()
        })
        .unwrap();
    assert_eq!(output.status, ExitStatus::Exited(3));
    assert_eq!(output.stdout, b"out\n");
    assert_eq!(output.stderr, b"err\n");
}

#[test]
fn sixteen_megabytes_both_ways() {
    let reactor = Reactor::new().unwrap();
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let data: Vec<u8> = (0..16_000_000u32).map(|i| i as u8).collect();
    let output = reactor
        .run_until(async {
            let mut child = command.spawn(&reactor).await.unwrap();
            child.communicate(Some(data.clone())).await.unwrap()
        })
        .unwrap();
    assert_eq!(output.stdout, data);
}

#[test]
fn a_missing_program_is_an_error_of_the_exec() {
    let reactor = Reactor::new().unwrap();
    let result = reactor
        .run_until(Command::new("/no/such/program").spawn(&reactor))
        .unwrap();
    let error = result.unwrap_err();
    assert_eq!(error.stage(), Stage::Exec);
    assert_eq!(error.io_error().kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_signal_ends_it_and_later_signals_find_nobody() {
    let reactor = Reactor::new().unwrap();
    reactor
        .run_until(async {
            let child = Command::new("sleep")
                .arg("1000")
                .spawn(&reactor)
                .await
                .unwrap();
            child.start_kill().unwrap();
            assert_eq!(
                child.wait().await.unwrap(),
                ExitStatus::Signaled {
                    signal: 9,
                    core: false
                }
            );
            assert_eq!(
                child.signal(9).unwrap_err().kind(),
                std::io::ErrorKind::NotFound
            );
        })
        .unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn a_child_that_is_dropped_while_starting_is_killed_and_reaped() {
    let reactor = Reactor::new().unwrap();
    for _ in 0..20 {
        drop(Command::new("sleep").arg("1000").spawn(&reactor));
    }
    drop(reactor);
    // A process that takes its time to die is reaped by a thread.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !sleeping_children().is_empty() {
        let left = std::time::Instant::now() < deadline;
        assert!(left, "{:?} are left", sleeping_children());
        std::thread::yield_now();
    }
}

/// Other tests run beside this one: only sleeps are of interest, and theirs end soon.
#[cfg(target_os = "linux")]
fn sleeping_children() -> Vec<String> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter();
    let threads = threads.flatten().flatten();
    let lists = threads.map(|thread| std::fs::read_to_string(thread.path().join("children")));
    let pids = lists.flat_map(|list| {
        let list = list.unwrap_or_default();
        list.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    // The name of a zombie, too.
    let name = |pid: &String| std::fs::read_to_string(format!("/proc/{pid}/comm"));
    let sleeps = |pid: &String| name(pid).unwrap_or_default() == "sleep\n";
    pids.filter(sleeps).collect()
}

#[test]
fn a_child_goes_from_one_reactor_to_another() {
    let (first, second) = (Reactor::new().unwrap(), Reactor::new().unwrap());
    let mut command = sh("printf 'one\ntwo\n'; cat; exit 3");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let child = first.run_until(async {
        let mut child = command.spawn(&first).await.unwrap();
        let stdout = child.stdout.as_mut().unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).await.unwrap();
        assert_eq!(line, "one\n");
        child
    });
    let mut child = child.unwrap().move_to(&second).unwrap();
    drop(first);
    let output = second.run_until(child.communicate(Some(vec![b'x'; 300_000])));
    let output = output.unwrap().unwrap();
    assert_eq!(output.status, ExitStatus::Exited(3));
    assert_eq!(output.stdout.len(), 4 + 300_000);
    // One that has ended.
    let moved = child.move_to(&Reactor::new().unwrap()).unwrap();
    assert_eq!(moved.try_wait(), Some(ExitStatus::Exited(3)));
}

/// A leader and a member of its group that ignores SIGTERM; their pids.
#[cfg(target_os = "linux")]
#[allow(clippy::unwrap_used)]
async fn family(reactor: &Reactor, script: &str, owned: bool) -> (procio::Child, [u32; 2]) {
    let mut command = sh(script);
    command
        .stdout(Stdio::piped())
        .process_group(0)
        .kill_group_on_drop(owned);
    let mut child = command.spawn(reactor).await.unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let line = stdout.read_lines().next_line().await.unwrap().unwrap();
    let pids: Vec<u32> = line.split(' ').map(|pid| pid.parse().unwrap()).collect();
    (child, pids.try_into().unwrap())
}

#[cfg(target_os = "linux")]
const DEAF: &str = "trap '' TERM; sleep 1000 & trap - TERM; echo $$ $!; wait";
#[cfg(target_os = "linux")]
const ENDS: &str = "trap '' TERM; sleep 1000 & echo $$ $!";

#[cfg(target_os = "linux")]
fn wait_until_dead(pid: u32) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        // A process that is not our child is a zombie until its parent reaps it.
        match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) if !stat.contains(") Z ") && !stat.contains(") X ") => {}
            _ => return,
        }
        assert!(std::time::Instant::now() < end, "{pid} still runs");
        std::thread::yield_now();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn shutdown_ends_the_group() {
    let reactor = Reactor::new().unwrap();
    for owned in [false, true] {
        let (status, pids) = reactor
            .run_until(async {
                let (child, pids) = family(&reactor, DEAF, owned).await;
                (child.shutdown(15, std::future::pending()).await, pids)
            })
            .unwrap();
        assert_eq!(status.unwrap().signal(), Some(15));
        pids.into_iter().for_each(wait_until_dead);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn shutdown_dropped_half_way_kills_the_group() {
    let reactor = Reactor::new().unwrap();
    reactor
        .run_until(async {
            let (child, pids) = family(
                &reactor,
                "trap '' TERM; sleep 1000 & echo $$ $!; wait",
                false,
            )
            .await;
            {
                let shutdown = std::pin::pin!(child.shutdown(15, std::future::pending()));
                let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
                assert!(shutdown.poll(&mut cx).is_pending());
            }
            pids.into_iter().for_each(wait_until_dead);
            assert_eq!(child.wait().await.unwrap().signal(), Some(9));
        })
        .unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn a_group_that_is_owned_is_killed_with_its_child() {
    let reactor = Reactor::new().unwrap();
    let (child, [leader, member]) = reactor.run_until(family(&reactor, ENDS, true)).unwrap();
    assert!(reactor.run_until(child.wait()).unwrap().unwrap().success());
    // It is kept, so that the number of the group stays its own.
    assert!(
        std::fs::read_to_string(format!("/proc/{leader}/stat"))
            .unwrap()
            .contains(") Z ")
    );
    drop(child);
    assert!(!std::path::Path::new(&format!("/proc/{leader}")).exists());
    wait_until_dead(member);
}

#[test]
#[cfg(target_os = "linux")]
fn a_group_that_is_owned_is_killed_with_its_reactor() {
    let reactor = Reactor::new().unwrap();
    let (child, pids) = reactor.run_until(family(&reactor, DEAF, true)).unwrap();
    drop(reactor);
    pids.into_iter().for_each(wait_until_dead);
    assert_eq!(child.try_wait().and_then(|status| status.signal()), Some(9));
}

#[test]
fn threads_that_drive_one_reactor_do_not_keep_each_other_asleep() {
    let reactor = std::sync::Arc::new(Reactor::new().unwrap());
    let (ended, ends) = std::sync::mpsc::channel();
    let long = reactor.run_until(Command::new("sleep").arg("1000").spawn(&*reactor));
    let long = std::sync::Arc::new(long.unwrap().unwrap());
    let drive = |rounds| {
        let (reactor, ended, long) = (reactor.clone(), ended.clone(), long.clone());
        std::thread::spawn(move || {
            if rounds == 0 {
                // The others have to see to their own children while this one sleeps.
                reactor.run_until(long.wait()).unwrap().unwrap();
            }
            for _ in 0..rounds {
                let command = Command::new("true");
                assert!(
                    reactor
                        .run_until(command.status(&*reactor))
                        .unwrap()
                        .unwrap()
                        .success()
                );
                ended.send(()).unwrap();
            }
            if rounds == 0 {
                ended.send(()).unwrap();
            }
        })
    };
    let limit = std::time::Duration::from_secs(20);
    let threads = [0, 250, 250].map(drive);
    for _ in 0..500 {
        assert_eq!(ends.recv_timeout(limit), Ok(()), "a thread sleeps");
    }
    // By a thread that does not drive.
    long.start_kill().unwrap();
    assert_eq!(ends.recv_timeout(limit), Ok(()), "a thread sleeps");
    for thread in threads {
        thread.join().unwrap();
    }
}
