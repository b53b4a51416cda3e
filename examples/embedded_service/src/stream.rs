//! One request: the command, its output, its time limit, and the end of its process group.

use std::io;

use axum::body::Bytes;
use procio::Child;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;

use crate::{Failure, Service};

/// What the client is sent, as it comes. An error breaks the response off, so that the client can
/// tell it from one that is whole.
type Chunks = ReceiverStream<io::Result<Bytes>>;
type Started = oneshot::Sender<Result<Chunks, Failure>>;

const SIGKILL: i32 = 9;

pub fn channel() -> (Started, oneshot::Receiver<Result<Chunks, Failure>>) {
    oneshot::channel()
}

/// Runs one request to its end. Whatever becomes of the client, no process of the group is left.
pub async fn serve(service: Service, body: Bytes, started: Started) {
    let deadline = Instant::now() + service.limit;
    let child = match timeout_at(deadline, service.python.run(&body, &service.driver)).await {
        Ok(Ok(child)) => child,
        Ok(Err(error)) => return drop(started.send(Err(error))),
        Err(_) => return drop(started.send(Err("Python did not start it in time".into()))),
    };
    // A few chunks: the client's pace is the command's.
    let (sender, receiver) = mpsc::channel(4);
    let wanted = started.send(Ok(ReceiverStream::new(receiver))).is_ok();
    let mut child = child;
    let result = tokio::select! {
        result = copy(&mut child, &sender), if wanted => result,
        () = tokio::time::sleep_until(deadline) => Err("the time limit was reached"),
        () = service.stopping.cancelled() => Err("the service is stopping"),
        () = sender.closed() => Err("the client has gone"),
    };
    // What is left of the group, also if the leader has ended.
    let _ = child.signal_group(SIGKILL);
    let _ = child.start_kill();
    let _ = child.wait().await;
    if let Err(reason) = result {
        let _ = sender.try_send(Err(io::Error::other(reason)));
    }
}

/// Sends on what the command writes, until all of its group that have the pipe have ended.
async fn copy(
    child: &mut Child,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), &'static str> {
    let stdout = child.stdout.as_mut().ok_or("its output is no pipe")?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = stdout
            .read(&mut buffer)
            .await
            .map_err(|_| "reading failed")?;
        if count == 0 {
            return Ok(());
        }
        let chunk = Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default());
        let sent = sender.send(Ok(chunk)).await;
        sent.map_err(|_| "the client has gone")?;
    }
}
