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
            let mut child = command.spawn(&reactor).unwrap().await.unwrap();
            child.communicate(None).await.unwrap()
        })
        .unwrap();
    assert_eq!(output.status, ExitStatus::Exited(3));
    assert_eq!(output.stdout.unwrap(), b"out\n");
    assert_eq!(output.stderr.unwrap(), b"err\n");
}

#[test]
fn sixteen_megabytes_both_ways() {
    let reactor = Reactor::new().unwrap();
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let data: Vec<u8> = (0..16_000_000u32).map(|i| i as u8).collect();
    let output = reactor
        .run_until(async {
            let mut child = command.spawn(&reactor).unwrap().await.unwrap();
            child.communicate(Some(data.clone())).await.unwrap()
        })
        .unwrap();
    assert_eq!(output.stdout.unwrap(), data);
}

#[test]
fn a_missing_program_is_an_error_of_the_exec() {
    let reactor = Reactor::new().unwrap();
    let result = reactor
        .run_until(Command::new("/no/such/program").spawn(&reactor).unwrap())
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
                .unwrap()
                .await
                .unwrap();
            child.kill().unwrap();
            assert_eq!(
                child.wait().await.unwrap(),
                ExitStatus::Signaled {
                    signal: 9,
                    core: false
                }
            );
            assert_eq!(
                child.kill().unwrap_err().kind(),
                std::io::ErrorKind::NotFound
            );
        })
        .unwrap();
}

#[test]
fn a_child_that_is_dropped_while_starting_is_killed_and_reaped() {
    let reactor = Reactor::new().unwrap();
    for _ in 0..20 {
        drop(Command::new("sleep").arg("1000").spawn(&reactor).unwrap());
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
        let mut child = command.spawn(&first).unwrap().await.unwrap();
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
    assert_eq!(output.stdout.unwrap().len(), 4 + 300_000);
    // One that has ended.
    let moved = child.move_to(&Reactor::new().unwrap()).unwrap();
    assert_eq!(moved.try_wait(), Some(ExitStatus::Exited(3)));
}
