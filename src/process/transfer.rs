//! Handing a child from one reactor to another: the process, its pipes, and what was read ahead.
//!
//! Everything that can fail is done before the child leaves its reactor: until then nothing has
//! changed. After that it is in nobody's hands but ours, and if the other reactor will not have it,
//! it is killed.

use std::io;
use std::sync::Arc;

use crate::process::reaper::{Held, Life, bury};
use crate::process::spawn::Pipes;
use crate::reactor::Shared;
use crate::status::Exit;
use crate::stream::pipe::{ReadPipe, WritePipe};
use crate::sys::{self, Group, OwnedHandle, PipeReader, PipeWriter, Process};

/// A child that is in no reactor. Dropping it kills the child and reaps it.
pub(crate) struct Parts {
    pub pid: u32,
    /// Unless it has ended.
    pub process: Option<Process>,
    /// What is left of its process group, if it has ended.
    pub group: Option<Group>,
    pub exit: Option<Exit>,
    pub leads: bool,
    pub kill_on_drop: bool,
    pub stdin: Option<Input>,
    pub stdout: Option<Output>,
    pub stderr: Option<Output>,
}

/// The writing end of a pipe, and what was to be written to it.
pub(crate) struct Input {
    pub handle: OwnedHandle,
    pub queued: Vec<u8>,
    pub closing: bool,
}

/// The reading end of a pipe, and what was read from it.
pub(crate) struct Output {
    /// Unless the end was read.
    pub handle: Option<OwnedHandle>,
    pub ahead: Vec<u8>,
    /// The longest line.
    pub limit: usize,
}

impl Parts {
    /// Takes a child out of its reactor. What still holds it there finds nothing any more, and
    /// waiting operations fail. On error nothing has changed.
    pub(crate) fn take(
        life: &Life,
        stdin: Option<&WritePipe>,
        stdout: Option<&ReadPipe>,
        stderr: Option<&ReadPipe>,
    ) -> io::Result<Self> {
        if !sys::HANDOVER {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let copy = |pipe: Option<&ReadPipe>| pipe.map(ReadPipe::duplicate).transpose();
        let output = |pipe: Option<&ReadPipe>, handle: Option<Option<OwnedHandle>>| {
            pipe.zip(handle).map(|(pipe, handle)| {
                let (ahead, limit) = pipe.leave(handed_over());
                Output {
                    handle,
                    ahead,
                    limit,
                }
            })
        };
        let handles = (copy(stdout)?, copy(stderr)?);
        let input = stdin.map(WritePipe::duplicate).transpose()?.flatten();
        let (process, group, exit) = life.leave()?;
        let stdin = input.zip(stdin).map(|(handle, pipe)| {
            let (queued, closing) = pipe.leave();
            Input {
                handle,
                queued,
                closing,
            }
        });
        Ok(Parts {
            pid: life.pid(),
            process,
            group,
            exit,
            leads: life.leads(),
            kill_on_drop: life.kill_on_drop(),
            stdin,
            stdout: output(stdout, handles.0),
            stderr: output(stderr, handles.1),
        })
    }

    /// Puts the child into a reactor, which reads `ahead` bytes twice over while nobody asks. On
    /// error it has been killed.
    pub(crate) fn attach(
        mut self,
        shared: &Arc<Shared>,
        ahead: usize,
    ) -> io::Result<(Arc<Held>, Pipes)> {
        let life = match self.process.take() {
            // To give up from here on means to kill.
            Some(process) => Life::watch(shared, process, true, self.leads)?,
            None => Life::ended(shared, self.pid, self.group.take(), self.exit),
        };
        let read = |output: Option<Output>| output.map(|it| it.attach(shared, ahead)).transpose();
        let pipes = Pipes {
            stdin: self.stdin.take().map(|it| it.attach(shared)).transpose()?,
            stdout: read(self.stdout.take())?,
            stderr: read(self.stderr.take())?,
        };
        life.set_kill_on_drop(self.kill_on_drop);
        Ok((Arc::new(life), pipes))
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            let _ = process.kill();
            bury(process);
        }
    }
}

impl Input {
    fn attach(self, shared: &Arc<Shared>) -> io::Result<WritePipe> {
        let pipe = WritePipe::new(shared, PipeWriter::try_from(self.handle)?)?;
        pipe.write_owned(self.queued);
        if self.closing {
            pipe.close();
        }
        Ok(pipe)
    }
}

impl Output {
    fn attach(self, shared: &Arc<Shared>, ahead: usize) -> io::Result<ReadPipe> {
        let pipe = match self.handle {
            Some(handle) => {
                ReadPipe::new(shared, PipeReader::try_from(handle)?, self.limit, ahead)?
            }
            None => ReadPipe::ended(shared, self.limit),
        };
        pipe.lock().unread(&[&self.ahead]);
        Ok(pipe)
    }
}

/// What is met by those who still hold it in its first reactor.
pub(crate) fn handed_over() -> io::Error {
    io::Error::other("the child was handed over to another reactor")
}
