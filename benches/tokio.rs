//! The feature `tokio` against `tokio::process`, in alternation; the last column is the ratio.
//!
//! `cargo bench --no-default-features --features tokio --bench tokio`
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::process::Stdio as StdStdio;
use std::time::{Duration, Instant};

use procio::tokio::Driver;
use procio::{Command, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command as Theirs;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

const MIB: usize = 1024 * 1024;
const BULK: usize = 512 * MIB;

fn main() {
    let one = Builder::new_current_thread().enable_all().build().unwrap();
    let two = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    println!("| runtime | what | procio | tokio::process | ratio |");
    println!("| --- | --- | --- | --- | --- |");
    let runtimes = [("one thread", one), ("two workers", two)];
    for (name, runtime) in &runtimes {
        small(name, runtime);
    }
    // Touched, so that a fork has page tables to copy.
    let heap = std::hint::black_box(vec![1u8; 1536 * MIB]);
    for (name, runtime) in &runtimes {
        large(name, runtime);
    }
    drop(heap);
}

fn small(name: &str, runtime: &Runtime) {
    compare(name, "start and wait", 200, runtime, ours, theirs);
    compare(
        name,
        "the same in a session of its own",
        200,
        runtime,
        ours_session,
        theirs_session,
    );
    compare(name, "read 512 MiB", 8, runtime, ours_bulk, theirs_bulk);
    compare(
        name,
        "1,000 children at once",
        4,
        runtime,
        ours_many,
        theirs_many,
    );
    compare(
        name,
        "64 cats, a byte there and back",
        30,
        runtime,
        ours_cats,
        theirs_cats,
    );
}

fn large(name: &str, runtime: &Runtime) {
    compare(
        name,
        "start and wait, 1.5 GiB heap",
        100,
        runtime,
        ours,
        theirs,
    );
    let what = "in a session of its own, 1.5 GiB heap";
    compare(name, what, 20, runtime, ours_session, theirs_session);
}

fn compare<A, B>(
    name: &str,
    what: &str,
    rounds: usize,
    runtime: &Runtime,
    ours: impl Fn(Driver) -> A,
    theirs: impl Fn() -> B,
) where
    A: Future<Output = ()> + Send + 'static,
    B: Future<Output = ()> + Send + 'static,
{
    let driver = runtime.block_on(async { Driver::new().unwrap() });
    let (mut us, mut them) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let begin = Instant::now();
        runtime
            .block_on(runtime.spawn(ours(driver.clone())))
            .unwrap();
        let middle = Instant::now();
        runtime.block_on(runtime.spawn(theirs())).unwrap();
        if round > 0 {
            us.push(middle - begin);
            them.push(middle.elapsed());
        }
    }
    let (us, them) = (median(us), median(them));
    let ratio = us.as_secs_f64() / them.as_secs_f64();
    println!("| {name} | {what} | {us:.3?} | {them:.3?} | {ratio:.2} |");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

async fn ours(driver: Driver) {
    let child = Command::new("/bin/true").spawn(&driver).await.unwrap();
    assert!(child.wait().await.unwrap().success());
}

async fn theirs() {
    let mut child = Theirs::new("/bin/true").spawn().unwrap();
    assert!(child.wait().await.unwrap().success());
}

async fn ours_session(driver: Driver) {
    let mut command = Command::new("/bin/true");
    let child = command.setsid(true).spawn(&driver).await.unwrap();
    assert!(child.wait().await.unwrap().success());
}

/// There is no other way to a session there; it makes the standard library fork.
async fn theirs_session() {
    let mut command = Theirs::new("/bin/true");
    // SAFETY: one system call, which is allowed after fork.
    unsafe { command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?)) };
    assert!(command.spawn().unwrap().wait().await.unwrap().success());
}

async fn drain(mut output: impl AsyncReadExt + Unpin) {
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        match output.read(&mut buffer).await.unwrap() {
            0 => break,
            count => total += count,
        }
    }
    assert_eq!(total, BULK);
}

async fn ours_bulk(driver: Driver) {
    let mut command = Command::new("head");
    command
        .args(["-c", &BULK.to_string(), "/dev/zero"])
        .stdout(Stdio::piped());
    let mut child = command.spawn(&driver).await.unwrap();
    drain(child.stdout.take().unwrap()).await;
    child.wait().await.unwrap();
}

async fn theirs_bulk() {
    let mut command = Theirs::new("head");
    command
        .args(["-c", &BULK.to_string(), "/dev/zero"])
        .stdout(StdStdio::piped());
    let mut child = command.spawn().unwrap();
    drain(child.stdout.take().unwrap()).await;
    child.wait().await.unwrap();
}

async fn ours_many(driver: Driver) {
    let mut tasks = JoinSet::new();
    for _ in 0..1000 {
        tasks.spawn(ours(driver.clone()));
    }
    tasks.join_all().await;
}

async fn theirs_many() {
    let mut tasks = JoinSet::new();
    for _ in 0..1000 {
        tasks.spawn(theirs());
    }
    tasks.join_all().await;
}

/// So many bytes there and back, one after the other, in each of 64 tasks.
async fn ping<I, O>(mut input: I, mut output: O)
where
    I: AsyncWriteExt + Unpin,
    O: AsyncReadExt + Unpin,
{
    for _ in 0..50 {
        input.write_all(b"x").await.unwrap();
        output.read_exact(&mut [0]).await.unwrap();
    }
}

async fn ours_cats(driver: Driver) {
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let driver = driver.clone();
        tasks.spawn(async move {
            let mut command = Command::new("cat");
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn(&driver).await.unwrap();
            ping(child.stdin.take().unwrap(), child.stdout.take().unwrap()).await;
            child.wait().await.unwrap();
        });
    }
    tasks.join_all().await;
}

async fn theirs_cats() {
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        tasks.spawn(async move {
            let mut command = Theirs::new("cat");
            command.stdin(StdStdio::piped()).stdout(StdStdio::piped());
            let mut child = command.spawn().unwrap();
            ping(child.stdin.take().unwrap(), child.stdout.take().unwrap()).await;
            child.wait().await.unwrap();
        });
    }
    tasks.join_all().await;
}
