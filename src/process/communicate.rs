//! Feeding standard input and collecting what comes back, as one operation.

use std::io;
use std::task::{Context, Poll};

use crate::process::guard::ChildGuard;
use crate::reactor::waiters::Key;
use crate::stream::buffer::{OutOfMemory, Sink};
use crate::stream::read_pipe::ReadPipe;
use crate::stream::write_pipe::WritePipe;

/// Collects a stream into a sink, to the end or up to a number of bytes. Given up, it puts back what
/// it has, as it is: nothing that was read is lost, and the next one collects on.
pub(crate) struct Collect<K: Sink> {
    pipe: ReadPipe,
    sink: Option<K>,
    want: Option<usize>,
    begun: bool,
    done: bool,
}

impl<K: Sink> Collect<K> {
    pub(crate) fn new(pipe: ReadPipe, sink: K, want: Option<usize>) -> Self {
        Collect {
            pipe,
            sink: Some(sink),
            want,
            begun: false,
            done: false,
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), OutOfMemory>> {
        let Some(sink) = self.sink.as_mut().filter(|_| !self.done) else {
            return Poll::Ready(Ok(()));
        };
        if !std::mem::replace(&mut self.begun, true) {
            let most = self.want.unwrap_or(usize::MAX);
            if let Some(resumed) = self.pipe.lock().resume(most) {
                *sink = resumed;
            }
        }
        let result = std::task::ready!(self.pipe.poll_collect(sink, self.want, cx));
        self.done = result.is_ok();
        Poll::Ready(result)
    }

    pub(crate) fn pipe(&self) -> &ReadPipe {
        &self.pipe
    }

    /// What was collected, to be finished. If that fails, it is still put back.
    #[cfg(feature = "python")]
    pub(crate) fn sink(&mut self) -> Option<&mut K> {
        self.sink.as_mut()
    }

    /// What was collected.
    pub(crate) fn take(&mut self) -> Option<K> {
        self.sink.take()
    }
}

impl<K: Sink> Drop for Collect<K> {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            self.pipe.lock().park(Box::new(sink));
        }
    }
}

/// Waits until both outputs have ended, and the child has. Its input is not waited for: when all
/// that is over only a descendant could still read it, and the reactor goes on writing. That the
/// child does not read its input is no error; that it could not be written for another reason is.
///
/// Given up, it puts back what it had collected, so that the next one returns everything (CPython
/// issue 139373).
pub(crate) struct Communicate<K: Sink> {
    input: Option<WritePipe>,
    pub(crate) stdout: Option<Collect<K>>,
    pub(crate) stderr: Option<Collect<K>>,
    guard: ChildGuard,
    key: Key,
    input_key: Key,
}

impl<K: Sink> Communicate<K> {
    pub(crate) fn new(
        guard: ChildGuard,
        input: Option<WritePipe>,
        stdout: Option<Collect<K>>,
        stderr: Option<Collect<K>>,
    ) -> Self {
        Communicate {
            input,
            stdout,
            stderr,
            guard,
            key: None,
            input_key: None,
        }
    }

    #[cfg(feature = "python")]
    pub(crate) fn guard(&self) -> &ChildGuard {
        &self.guard
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pending = self.guard.poll_wait(&mut self.key, cx).is_pending();
        for collect in [&mut self.stdout, &mut self.stderr].into_iter().flatten() {
            match collect.poll(cx) {
                Poll::Pending => pending = true,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
            }
        }
        if let Some(input) = &self.input {
            input.watch_failure(&mut self.input_key, cx)?;
        }
        if pending {
            Poll::Pending
        } else {
            Poll::Ready(Ok(()))
        }
    }
}

impl<K: Sink> Drop for Communicate<K> {
    fn drop(&mut self) {
        self.guard.forget(&mut self.key);
        if let Some(input) = &self.input {
            let _stale = input.lock().close_waiters.forget(&mut self.input_key);
        }
    }
}
