//! With tokio: a reactor that a runtime drives, and tokio's traits for the pipes.
//!
//! ```
//! use procio::tokio::Driver;
//! use procio::{Command, Stdio};
//! use tokio::io::{AsyncBufReadExt, BufReader};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let driver = Driver::new()?;
//! let mut command = Command::new("printf");
//! let mut child = command.arg("a\\nb\\n").stdout(Stdio::piped()).spawn(&driver).await?;
//! let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
//! while let Some(line) = lines.next_line().await? {
//!     println!("{line}");
//! }
//! assert!(child.wait().await?.success());
//! # Ok(())
//! # }
//! ```
//!
//! # Caveats
//!
//! - One [`Driver`] serves any number of children and tasks. It belongs to the runtime in which it was
//!   made; its children can be used from any other, as long as the first one runs.
//! - When that runtime ends, so does the reactor: see the caveats of the [crate](crate#caveats).
//! - Dropping a [`Child`](crate::Child) never blocks while the runtime runs.
//! - `Command::kill_on_drop`, [`Child::wait`](crate::Child::wait) and the streams behave as their
//!   counterparts in `tokio::process`.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use ::tokio::runtime;
use ::tokio::task::coop::poll_proceed;

use crate::child_stdio::{ChildStderr, ChildStdin, ChildStdout};
use crate::reactor::poll_thread::{Delivered, PollThread};
use crate::reactor::{Handle, Inner, Reactor};
use crate::sys::HostFd;

/// A reactor that the current tokio runtime drives, by a task of its own.
///
/// Clones are of the same reactor. When the last one is dropped, the task goes on until the last
/// child has been reaped and the last pipe was dropped, and then ends.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let driver = procio::tokio::Driver::new()?;
/// let child = procio::Command::new("true").spawn(&driver).await?;
/// assert!(child.wait().await?.success());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Driver(Arc<Keeper>);

struct Keeper(Handle);

impl Driver {
    /// A reactor for the current runtime.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let driver = procio::tokio::Driver::new()?;
    /// assert!(procio::Command::new("true").status(&driver).await?.success());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Outside of a runtime; when the system gives no descriptor.
    ///
    /// # Panics
    /// In a runtime that was built without `enable_io`.
    pub fn new() -> io::Result<Self> {
        let runtime = runtime::Handle::try_current().map_err(io::Error::other)?;
        let reactor = Reactor::new()?;
        let handle = reactor.handle();
        handle.0.set_runtime(runtime.clone());
        runtime.spawn(Drive::new(reactor)?);
        Ok(Driver(Arc::new(Keeper(handle))))
    }

    /// A handle that can start children as well, but does not keep the reactor from ending.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let driver = procio::tokio::Driver::new()?;
    /// let handle = driver.handle();
    /// let status = tokio::spawn(async move {
    ///     let child = procio::Command::new("true").spawn(&handle).await?;
    ///     Ok::<_, std::io::Error>(child.wait().await?)
    /// })
    /// .await??;
    /// assert!(status.success());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.0.0.clone()
    }
}

impl crate::reactor::sealed::AsReactor for Driver {
    fn reactor_handle(&self) -> &Handle {
        &self.0.0
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Driver")
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.0.release();
    }
}

/// The task. What it watches goes before the descriptor that it watches.
struct Drive {
    watch: Watch,
    reactor: Reactor,
}

enum Watch {
    Fd(HostFd),
    Thread(PollThread),
}

impl Drive {
    fn new(reactor: Reactor) -> io::Result<Self> {
        let inner: &Arc<Inner> = reactor.inner();
        let watch = match HostFd::new(&inner.poller()?)? {
            Some(fd) => Watch::Fd(fd),
            None => {
                let polled = inner.clone();
                Watch::Thread(PollThread::start(inner, move |events| {
                    polled.collect(events);
                    polled.wake_host();
                    Delivered::Told
                })?)
            }
        };
        Ok(Drive { watch, reactor })
    }
}

impl Future for Drive {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let inner = self.reactor.inner();
        self.reactor.set_waker(cx.waker());
        let mut due = inner.wants_turn();
        match &self.watch {
            Watch::Thread(_) => due = true,
            Watch::Fd(fd) => loop {
                match fd.poll_ready(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(())) => {
                        due = false;
                        if self.reactor.dispatch().is_err() {
                            return Poll::Ready(());
                        }
                    }
                    // The runtime is shutting down.
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                }
            },
        }
        if due && self.reactor.dispatch().is_err() || inner.is_over() {
            return Poll::Ready(());
        }
        if inner.wants_turn() {
            // The others first.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        if let Watch::Thread(poll_thread) = &self.watch
            && let Some(thread) = poll_thread.stop()
        {
            // It is on its way out of a system call, and takes no lock that we hold.
            let _ = thread.join();
        }
    }
}

macro_rules! reading {
    ($name:ident) => {
        impl AsyncRead for $name {
            fn poll_read(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let coop = ready!(poll_proceed(cx));
                ready!(self.0.poll_read_buf(buffer, cx))?;
                coop.made_progress();
                Poll::Ready(Ok(()))
            }
        }

        impl AsyncBufRead for $name {
            fn poll_fill_buf(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<io::Result<&[u8]>> {
                let reading = &mut self.get_mut().0;
                // Each line of many is no progress to be counted: what they were read by is.
                if reading.has_lent() {
                    return reading.poll_fill(cx);
                }
                let coop = ready!(poll_proceed(cx));
                let filled = ready!(reading.poll_fill(cx))?;
                coop.made_progress();
                Poll::Ready(Ok(filled))
            }

            fn consume(mut self: Pin<&mut Self>, count: usize) {
                self.0.consume(count);
            }
        }
    };
}

reading!(ChildStdout);
reading!(ChildStderr);

impl AsyncWrite for ChildStdin {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let coop = ready!(poll_proceed(cx));
        let count = ready!(ChildStdin::poll_write(&mut self, slices, cx))?;
        coop.made_progress();
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ChildStdin::poll_flush(&mut self, cx)
    }

    /// Closes the pipe.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_closed(cx)
    }
}
