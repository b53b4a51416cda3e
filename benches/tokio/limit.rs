//! The cases by the standard library: the system calls that are needed, and nothing else.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use crate::MIB;
use crate::shared::{self, BULK, EXCHANGES, LINES};

fn reading(program: &str, args: &[String]) -> Child {
    let mut command = Command::new(program);
    command.args(args).stdout(Stdio::piped()).spawn().unwrap()
}

pub fn start() {
    assert!(Command::new("/bin/true").status().unwrap().success());
}

pub fn output() {
    let output = Command::new("/bin/echo").arg("hi").output();
    assert_eq!(output.unwrap().stdout, b"hi\n");
}

pub fn bulk() {
    let mut child = reading("head", &shared::head(BULK));
    let mut stdout = child.stdout.take().unwrap();
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        match stdout.read(&mut buffer).unwrap() {
            0 => break,
            count => total += count,
        }
    }
    assert_eq!(total, BULK);
    child.wait().unwrap();
}

pub fn collect(mib: usize) {
    let output = Command::new("head").args(shared::head(mib * MIB)).output();
    assert_eq!(output.unwrap().stdout.len(), mib * MIB);
}

pub fn lines() {
    let mut child = reading("seq", &shared::seq());
    let stdout = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(stdout.lines().map_while(Result::ok).count(), LINES);
    child.wait().unwrap();
}

pub fn read_line() {
    let mut child = reading("seq", &shared::seq());
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let (mut line, mut count) = (String::new(), 0);
    while stdout.read_line(&mut line).unwrap() > 0 {
        line.clear();
        count += 1;
    }
    assert_eq!(count, LINES);
    child.wait().unwrap();
}

pub fn ping_pong() {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (mut stdin, mut stdout) = (stdin.unwrap(), stdout.unwrap());
    for _ in 0..EXCHANGES {
        stdin.write_all(b"x").unwrap();
        stdout.read_exact(&mut [0]).unwrap();
    }
    drop(stdin);
    child.wait().unwrap();
}
