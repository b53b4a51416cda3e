//! Handing a child from one reactor to another: the process, its pipes, and what was read ahead.
//!
//! Everything that can fail is done before the child leaves its reactor: until then nothing has
//! changed. After that this module alone owns it, and if the other reactor will not have it,
//! it is killed.

use std::io;
use std::sync::Arc;

use crate::error::detached_error;
use crate::process::guard::ChildGuard;
use crate::process::orphan::kill_orphan;
use crate::process::reaper::Reaper;
use crate::process::spawn::Pipes;
use crate::reactor::Inner;
use crate::status::Exit;
use crate::stream::read_pipe::ReadPipe;
use crate::stream::write_pipe::WritePipe;
use crate::sys::{self, Group, OwnedHandle, PipeReader, PipeWriter, Process};

/// A child that is in no reactor. Dropping it kills the child and reaps it.
pub(crate) struct DetachedChild {
    pub pid: u32,
    /// Unless it has ended.
    pub process: Option<Process>,
    /// What is left of its process group, if it has ended.
    pub group: Option<Group>,
    pub exit: Option<Exit>,
    pub leads: bool,
    pub kill_on_drop: bool,
    pub stdin: Option<DetachedStdin>,
    pub stdout: Option<DetachedOutput>,
    pub stderr: Option<DetachedOutput>,
}

/// The writing end of a pipe, and what was to be written to it.
pub(crate) struct DetachedStdin {
    pub handle: OwnedHandle,
    pub queued: Vec<u8>,
    pub closing: bool,
}

/// The reading end of a pipe, and what was read from it.
pub(crate) struct DetachedOutput {
    /// Unless the end was read.
    pub handle: Option<OwnedHandle>,
    pub ahead: Vec<u8>,
    /// The longest line.
    pub limit: usize,
}

impl DetachedChild {
    /// Takes a child out of its reactor. What still holds it there finds nothing any more, and
    /// waiting operations fail. On error nothing has changed.
    pub(crate) fn take(
        guard: &Reaper,
        stdin: Option<&WritePipe>,
        stdout: Option<&ReadPipe>,
        stderr: Option<&ReadPipe>,
    ) -> io::Result<Self> {
        if !sys::HANDOVER {
            return Err(io::ErrorKind::Unsupported.into());
        }
        for pipe in stdout.into_iter().chain(stderr) {
            pipe.gather()?;
        }
        let room = stdin.map(WritePipe::gather).transpose()?;
        let copy = |pipe: Option<&ReadPipe>| pipe.map(ReadPipe::duplicate).transpose();
        let output = |pipe: Option<&ReadPipe>, handle: Option<Option<OwnedHandle>>| {
            pipe.zip(handle).map(|(pipe, handle)| {
                let (ahead, limit) = pipe.detach(detached_error());
                DetachedOutput {
                    handle,
                    ahead,
                    limit,
                }
            })
        };
        let handles = (copy(stdout)?, copy(stderr)?);
        let input = stdin.map(WritePipe::duplicate).transpose()?.flatten();
        let (process, group, exit) = guard.detach()?;
        let stdin = input.zip(stdin).map(|(handle, pipe)| {
            let (queued, closing) = pipe.detach(room.unwrap_or_default());
            DetachedStdin {
                handle,
                queued,
                closing,
            }
        });
        Ok(DetachedChild {
            pid: guard.pid(),
            process,
            group,
            exit,
            leads: guard.leads(),
            kill_on_drop: guard.kill_on_drop(),
            stdin,
            stdout: output(stdout, handles.0),
            stderr: output(stderr, handles.1),
        })
    }

    /// Puts the child into a reactor, which reads ahead up to twice `ahead` bytes. On
    /// error it has been killed.
    pub(crate) fn attach(
        mut self,
        reactor: &Arc<Inner>,
        ahead: usize,
    ) -> io::Result<(ChildGuard, Pipes)> {
        let guard = match self.process.take() {
            // To give up from here on means to kill.
            Some(process) => ChildGuard::watch(reactor, process, true, self.leads, false)?,
            None => ChildGuard::ended(reactor, self.pid, self.group.take(), self.exit),
        };
        let read =
            |output: Option<DetachedOutput>| output.map(|it| it.attach(reactor, ahead)).transpose();
        let pipes = Pipes {
            stdin: self.stdin.take().map(|it| it.attach(reactor)).transpose()?,
            stdout: read(self.stdout.take())?,
            stderr: read(self.stderr.take())?,
        };
        guard.set_kill_on_drop(self.kill_on_drop);
        Ok((guard, pipes))
    }
}

impl Drop for DetachedChild {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            kill_orphan(process);
        }
    }
}

impl DetachedStdin {
    fn attach(self, reactor: &Arc<Inner>) -> io::Result<WritePipe> {
        let pipe = WritePipe::new(reactor, PipeWriter::try_from(self.handle)?)?;
        pipe.write_owned(self.queued)?;
        if self.closing {
            pipe.close();
        }
        Ok(pipe)
    }
}

impl DetachedOutput {
    fn attach(self, reactor: &Arc<Inner>, ahead: usize) -> io::Result<ReadPipe> {
        let pipe = match self.handle {
            Some(handle) => {
                ReadPipe::new(reactor, PipeReader::try_from(handle)?, self.limit, ahead)?
            }
            None => ReadPipe::ended(reactor, self.limit),
        };
        pipe.lock().park(Box::new(self.ahead));
        Ok(pipe)
    }
}
