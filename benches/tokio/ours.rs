//! The cases by procio.

use procio::tokio::Driver;
use procio::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tokio::task::JoinSet;

use crate::MIB;
use crate::shared::{self, BOTH_WAYS, BULK, EXCHANGES, LINES};

async fn reading(driver: &Driver, program: &str, args: &[String]) -> (Child, ChildStdout) {
    let mut command = Command::new(program);
    command.args(args).stdout(Stdio::piped());
    let mut child = command.spawn(driver).await.unwrap();
    let stdout = child.stdout.take().unwrap();
    (child, stdout)
}

async fn cat(driver: &Driver) -> (Child, ChildStdin, ChildStdout) {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn(driver).await.unwrap();
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    (child, stdin.unwrap(), stdout.unwrap())
}

pub async fn start(driver: Driver) {
    let child = Command::new("/bin/true").spawn(&driver).await.unwrap();
    assert!(child.wait().await.unwrap().success());
}

pub async fn session(driver: Driver) {
    let mut command = Command::new("/bin/true");
    let child = command.setsid(true).spawn(&driver).await.unwrap();
    assert!(child.wait().await.unwrap().success());
}

pub async fn output(driver: Driver) {
    let output = Command::new("/bin/echo").arg("hi").output(&driver).await;
    assert_eq!(output.unwrap().stdout, b"hi\n");
}

pub async fn many(driver: Driver) {
    let mut tasks = JoinSet::new();
    for _ in 0..1000 {
        tasks.spawn(start(driver.clone()));
    }
    tasks.join_all().await;
}

pub async fn crowd(driver: Driver) {
    let mut tasks = JoinSet::new();
    for _ in 0..1000 {
        if tasks.len() == 64 {
            tasks.join_next().await;
        }
        tasks.spawn(start(driver.clone()));
    }
    tasks.join_all().await;
}

pub async fn bulk(driver: Driver) {
    let (child, stdout) = reading(&driver, "head", &shared::head(BULK)).await;
    shared::drain(stdout).await;
    child.wait().await.unwrap();
}

async fn collect(driver: Driver, bytes: usize) {
    let mut command = Command::new("head");
    let output = command.args(shared::head(bytes)).output(&driver).await;
    assert_eq!(output.unwrap().stdout.len(), bytes);
}

pub async fn collect_256(driver: Driver) {
    collect(driver, 256 * MIB).await;
}

pub async fn collect_512(driver: Driver) {
    collect(driver, 512 * MIB).await;
}

pub async fn both_ways(driver: Driver) {
    let (child, stdin, stdout) = cat(&driver).await;
    shared::feed_and_collect(stdin, stdout).await;
    child.wait().await.unwrap();
}

pub async fn communicate(driver: Driver) {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn(&driver).await.unwrap();
    let output = child.communicate(Some(vec![b'x'; BOTH_WAYS])).await;
    assert_eq!(output.unwrap().stdout.len(), BOTH_WAYS);
}

pub async fn lines(driver: Driver) {
    let (child, stdout) = reading(&driver, "seq", &shared::seq()).await;
    shared::lines(stdout).await;
    child.wait().await.unwrap();
}

pub async fn read_line(driver: Driver) {
    let (child, mut stdout) = reading(&driver, "seq", &shared::seq()).await;
    let (mut line, mut count) = (String::new(), 0);
    while stdout.read_line(&mut line).await.unwrap() > 0 {
        line.clear();
        count += 1;
    }
    assert_eq!(count, LINES);
    child.wait().await.unwrap();
}

pub async fn ping_pong(driver: Driver) {
    let (child, stdin, stdout) = cat(&driver).await;
    shared::ping(stdin, stdout, EXCHANGES).await;
    child.wait().await.unwrap();
}

pub async fn cats(driver: Driver) {
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let driver = driver.clone();
        tasks.spawn(async move {
            let (child, stdin, stdout) = cat(&driver).await;
            shared::ping(stdin, stdout, 50).await;
            child.wait().await.unwrap();
        });
    }
    tasks.join_all().await;
}

pub async fn idle(driver: &Driver) -> Child {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.kill_on_drop(true).spawn(driver).await.unwrap()
}
