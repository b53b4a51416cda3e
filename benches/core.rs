//! The core by itself: the strategies of a start, a turn of the reactor, lines.
//!
//! `cargo bench --features tokio --bench core`. Each strategy needs
//! a process of its own, because the switch that forces it is read once.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::process::Command as Std;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use procio::{Child, Command, Reactor, Stdio};

const STRATEGIES: [&str; 2] = ["vfork", "fork"];

fn main() {
    let forced = std::env::var("PROCIO_SPAWN");
    if forced.is_err() {
        println!("asynchronous clone:");
    }
    divan::main();
    if forced.is_err() {
        for strategy in STRATEGIES {
            println!("\nPROCIO_SPAWN={strategy}:");
            let mut again = Std::new(std::env::current_exe().unwrap());
            again
                .arg("--bench")
                .arg("start")
                .env("PROCIO_SPAWN", strategy);
            assert!(again.status().unwrap().success());
        }
    }
}

fn start(reactor: &Reactor, command: &mut Command) -> Child {
    let starting = command.spawn(reactor);
    reactor.run_until(starting).unwrap().unwrap()
}

fn cat(reactor: &Reactor) -> Child {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    start(reactor, command.kill_on_drop(true))
}

/// How long the caller is held, without the exec and the end of the child.
#[divan::bench(sample_count = 200)]
fn start_call(bencher: Bencher<'_, '_>) {
    let reactor = Reactor::new().unwrap();
    bencher
        .with_inputs(|| while reactor.dispatch().unwrap() {})
        .bench_local_values(|()| Command::new("/bin/true").spawn(&reactor));
}

#[divan::bench(sample_count = 200)]
fn start_and_wait(bencher: Bencher<'_, '_>) {
    let reactor = Reactor::new().unwrap();
    bencher.bench_local(|| {
        let child = start(&reactor, &mut Command::new("/bin/true"));
        reactor.run_until(child.wait()).unwrap().unwrap()
    });
}

#[divan::bench]
fn dispatch_of_nothing(bencher: Bencher<'_, '_>) {
    let reactor = Reactor::new().unwrap();
    let _idle: Vec<Child> = (0..64).map(|_| cat(&reactor)).collect();
    bencher.bench_local(|| reactor.dispatch().unwrap());
}

/// A byte to each of a number of children and back.
#[divan::bench(args = [1, 64], sample_count = 200)]
fn ping_pong(bencher: Bencher<'_, '_>, children: usize) {
    let reactor = Reactor::new().unwrap();
    let mut children: Vec<Child> = (0..children).map(|_| cat(&reactor)).collect();
    let count = ItemsCount::new(children.len());
    bencher.counter(count).bench_local(|| {
        let all = async {
            for child in &mut children {
                child.stdin.as_mut().unwrap().write_all(b"x").await.unwrap();
            }
            for child in &mut children {
                let mut byte = [0];
                child
                    .stdout
                    .as_mut()
                    .unwrap()
                    .read_exact(&mut byte)
                    .await
                    .unwrap();
            }
        };
        reactor.run_until(all).unwrap();
    });
}

/// Lines of a fixed length, as fast as `yes` writes them.
#[divan::bench(args = [2, 80, 4096], sample_count = 50)]
fn lines(bencher: Bencher<'_, '_>, length: usize) {
    const LINES: usize = 1000;
    let reactor = Reactor::new().unwrap();
    let mut command = Command::new("yes");
    command.arg("x".repeat(length - 1)).stdout(Stdio::piped());
    let mut child = start(&reactor, command.kill_on_drop(true));
    let stdout = child.stdout.as_mut().unwrap();
    let mut line = String::new();
    let counted = bencher
        .counter(ItemsCount::new(LINES))
        .counter(BytesCount::new(LINES * length));
    counted.bench_local(|| {
        let thousand = async {
            for _ in 0..LINES {
                line.clear();
                assert_eq!(stdout.read_line(&mut line).await.unwrap(), length);
            }
        };
        reactor.run_until(thousand).unwrap();
    });
}
