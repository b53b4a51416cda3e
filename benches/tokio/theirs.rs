//! The cases by `tokio::process`.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;

use crate::MIB;
use crate::shared::{self, BULK, EXCHANGES, LINES};

fn reading(program: &str, args: &[String]) -> (Child, ChildStdout) {
    let mut command = Command::new(program);
    command.args(args).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    (child, stdout)
}

fn cat() -> (Child, ChildStdin, ChildStdout) {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    (child, stdin.unwrap(), stdout.unwrap())
}

pub async fn start() {
    let mut child = Command::new("/bin/true").spawn().unwrap();
    assert!(child.wait().await.unwrap().success());
}

/// There is no other way to a session there; it makes the standard library fork.
pub async fn session() {
    let mut command = Command::new("/bin/true");
    // SAFETY: one system call, which is allowed after fork.
    unsafe { command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?)) };
    assert!(command.spawn().unwrap().wait().await.unwrap().success());
}

pub async fn output() {
    let output = Command::new("/bin/echo").arg("hi").output().await;
    assert_eq!(output.unwrap().stdout, b"hi\n");
}

pub async fn many() {
    let mut tasks = JoinSet::new();
    for _ in 0..1000 {
        tasks.spawn(start());
    }
    tasks.join_all().await;
}

pub async fn crowd() {
    let mut tasks = JoinSet::new();
    for _ in 0..1000 {
        if tasks.len() == 64 {
            tasks.join_next().await;
        }
        tasks.spawn(start());
    }
    tasks.join_all().await;
}

pub async fn bulk() {
    let (mut child, stdout) = reading("head", &shared::head(BULK));
    shared::drain(stdout).await;
    child.wait().await.unwrap();
}

async fn collect(bytes: usize) {
    let output = Command::new("head").args(shared::head(bytes)).output();
    assert_eq!(output.await.unwrap().stdout.len(), bytes);
}

pub async fn collect_256() {
    collect(256 * MIB).await;
}

pub async fn collect_512() {
    collect(512 * MIB).await;
}

pub async fn both_ways() {
    let (mut child, stdin, stdout) = cat();
    shared::feed_and_collect(stdin, stdout).await;
    child.wait().await.unwrap();
}

pub async fn lines() {
    let (mut child, stdout) = reading("seq", &shared::seq());
    shared::lines(BufReader::new(stdout)).await;
    child.wait().await.unwrap();
}

pub async fn read_line() {
    let (mut child, stdout) = reading("seq", &shared::seq());
    let mut stdout = BufReader::new(stdout);
    let (mut line, mut count) = (String::new(), 0);
    while stdout.read_line(&mut line).await.unwrap() > 0 {
        line.clear();
        count += 1;
    }
    assert_eq!(count, LINES);
    child.wait().await.unwrap();
}

pub async fn ping_pong() {
    let (mut child, stdin, stdout) = cat();
    shared::ping(stdin, stdout, EXCHANGES).await;
    child.wait().await.unwrap();
}

pub async fn cats() {
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        tasks.spawn(async move {
            let (mut child, stdin, stdout) = cat();
            shared::ping(stdin, stdout, 50).await;
            child.wait().await.unwrap();
        });
    }
    tasks.join_all().await;
}

pub fn idle() -> Child {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.kill_on_drop(true).spawn().unwrap()
}
