//! What both do with the streams, by tokio's traits.

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt,
};

use crate::MIB;

pub const BULK: usize = 512 * MIB;
pub const BOTH_WAYS: usize = 64 * MIB;
pub const LINES: usize = 1_000_000;
pub const EXCHANGES: usize = 2000;

pub fn seq() -> [String; 2] {
    ["1".into(), LINES.to_string()]
}

pub fn head(bytes: usize) -> [String; 3] {
    ["-c".into(), bytes.to_string(), "/dev/zero".into()]
}

pub async fn drain(mut output: impl AsyncRead + Unpin) {
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

/// A number of bytes there and back, one after the other.
pub async fn ping<I, O>(mut input: I, mut output: O, times: usize)
where
    I: AsyncWrite + Unpin,
    O: AsyncRead + Unpin,
{
    for _ in 0..times {
        input.write_all(b"x").await.unwrap();
        output.read_exact(&mut [0]).await.unwrap();
    }
}

pub async fn feed_and_collect<I, O>(mut input: I, mut output: O)
where
    I: AsyncWrite + Unpin,
    O: AsyncRead + Unpin,
{
    let bytes = vec![b'x'; BOTH_WAYS];
    let feed = async move {
        input.write_all(&bytes).await.unwrap();
        drop(input);
    };
    let mut collected = Vec::new();
    let (_, count) = tokio::join!(feed, output.read_to_end(&mut collected));
    assert_eq!(count.unwrap(), BOTH_WAYS);
}

pub async fn lines(output: impl AsyncBufRead + Unpin) {
    let mut lines = output.lines();
    let mut count = 0;
    while let Some(line) = lines.next_line().await.unwrap() {
        count += usize::from(!line.is_empty());
    }
    assert_eq!(count, LINES);
}
