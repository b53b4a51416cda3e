//! One child: watching for its end, asking how it ended, ending it.
//!
//! The handle names the process and not its number, which is not used again while the handle is
//! open: nothing here can reach a stranger.

use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    FILETIME, HANDLE, INVALID_HANDLE_VALUE, WAIT_FAILED, WAIT_OBJECT_0,
};
use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, GenerateConsoleCtrlEvent, GetConsoleProcessList,
};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{
    GetExitCodeProcess, GetProcessTimes, INFINITE, RegisterWaitForSingleObject, TerminateProcess,
    UnregisterWaitEx, WT_EXECUTEINWAITTHREAD, WT_EXECUTEONLYONCE, WaitForSingleObject,
};

#[cfg(feature = "python")]
use super::RawHandle;
use super::handle::check;
use super::iocp::{Poller, Port};
use super::job::{JobObject, TERMINATED};
use crate::status::{Exit, ExitStatus, Usage};
use crate::sys::Readiness;

/// What SIGTERM is in Python, and in the C library.
const SIGTERM: i32 = 15;
const CTRL_C: i32 = CTRL_C_EVENT.cast_signed();
const CTRL_BREAK: i32 = CTRL_BREAK_EVENT.cast_signed();
/// All that can be sent to a child.
#[cfg(feature = "python")]
pub(crate) const SIGNALS: [i32; 3] = [SIGTERM, CTRL_C, CTRL_BREAK];
/// What GetExitCodeProcess says of a process that has not ended; one may also end with it.
const STILL_ACTIVE: u32 = 259;

/// What a child that has ended has left in its job.
#[derive(Debug)]
pub(crate) struct Group(JobObject);

impl Group {
    #[cfg(feature = "python")]
    pub(crate) fn from_detached(_leader: OwnedHandle) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(feature = "python")]
    pub(crate) fn handle(&self) -> io::Result<RawHandle> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// SIGTERM ends all that is in it.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        match signal {
            SIGTERM => self.kill(),
            _ => Err(unsupported(signal)),
        }
    }

    pub(crate) fn kill(&self) -> io::Result<()> {
        self.0.terminate()
    }
}

/// There are no control groups.
#[derive(Debug)]
pub(crate) enum CgroupKill {}

impl CgroupKill {
    pub(crate) fn kill(&self) -> io::Result<()> {
        match *self {}
    }
}

/// A child whose end was not looked at.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    handle: OwnedHandle,
    /// With everything that it starts, if that was asked for.
    job: Option<JobObject>,
    /// It leads a process group of its console, which can be sent events.
    has_console_group: bool,
    /// Goes first: it must not outlive the handle.
    wait: Option<RegisteredWait>,
}

impl Process {
    pub(super) fn new(
        pid: u32,
        handle: OwnedHandle,
        job: Option<JobObject>,
        has_console_group: bool,
    ) -> Self {
        Process {
            pid,
            handle,
            job,
            has_console_group,
            wait: None,
        }
    }

    /// There is no handing over: see `HANDOVER`.
    #[cfg(feature = "python")]
    pub(crate) fn from_detached(_pid: u32, _handle: Option<OwnedHandle>) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// There is no handing over: see `HANDOVER`.
    #[cfg(feature = "python")]
    pub(crate) fn handle(&self) -> io::Result<Option<RawHandle>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// There is no handing over: see `HANDOVER`.
    #[cfg(feature = "python")]
    pub(crate) fn leads_group(&self) -> bool {
        false
    }

    /// There are no control groups.
    pub(crate) fn take_cgroup_kill(&mut self) -> Option<CgroupKill> {
        None
    }

    /// Any program can wait for it.
    pub(crate) fn is_tied(&self) -> bool {
        false
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    fn raw(&self) -> HANDLE {
        self.handle.as_raw_handle()
    }

    /// Reports `token` to the poller when the child ends.
    pub(crate) fn watch(&mut self, poller: &Poller, token: usize) -> io::Result<()> {
        self.wait = Some(RegisteredWait::new(self.raw(), poller.port(), token)?);
        Ok(())
    }

    pub(crate) fn unwatch(&mut self, _poller: &Poller) {
        self.wait = None;
    }

    /// How the child ended, if it has. A child may end with STILL_ACTIVE as its code, so the code
    /// alone says nothing. WaitForSingleObject, GetExitCodeProcess.
    pub(crate) fn try_wait(&mut self) -> io::Result<Option<Exit>> {
        self.wait_timeout(Duration::ZERO)
    }

    /// The same: the handle keeps its number from being given to another.
    pub(crate) fn try_look(&mut self) -> io::Result<Option<Exit>> {
        self.try_wait()
    }

    /// SIGTERM ends it; CTRL_C_EVENT and CTRL_BREAK_EVENT go to its process group, for which it
    /// must have been made the leader. As `Popen.send_signal`.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        match signal {
            SIGTERM => self.kill(),
            // SAFETY: takes two numbers. The number of the process is its own: see above.
            CTRL_C | CTRL_BREAK => {
                check(unsafe { GenerateConsoleCtrlEvent(signal.cast_unsigned(), self.pid) })
            }
            _ => Err(unsupported(signal)),
        }
    }

    /// Asks it to end, by CTRL_BREAK_EVENT, whatever `signal` is. `false` where it cannot be asked: it
    /// leads no process group of a console, has no console or another one than we, or is not attached
    /// to it yet and has run nothing of its own. The console host reports success also for a group that
    /// it does not know, and the event is lost. GenerateConsoleCtrlEvent.
    pub(crate) fn ask(&self, _signal: i32, _group: bool) -> io::Result<bool> {
        let attached = self.has_console_group && is_attached(self.pid);
        Ok(attached && self.signal(CTRL_BREAK).is_ok())
    }

    /// Whether that signal ends a process at once.
    pub(crate) fn is_deadly(signal: i32) -> bool {
        signal == SIGTERM
    }

    /// SIGTERM ends all that is in its job, the events of consoles go to its process group.
    pub(crate) fn signal_group(&self, signal: i32) -> io::Result<()> {
        match signal {
            SIGTERM => self.kill_group(),
            signal => self.signal(signal),
        }
    }

    /// Ends all that is in its job; `NotFound` if it has none.
    pub(crate) fn kill_group(&self) -> io::Result<()> {
        let job = self.job.as_ref().ok_or(io::ErrorKind::NotFound)?;
        job.terminate()
    }

    pub(crate) fn into_group(mut self) -> Option<Group> {
        self.job.take().map(Group)
    }

    /// TerminateProcess, which is refused if the child has ended already, or is ending: then there is
    /// nothing left to do. What tells is its exit code, as in `Popen`; the handle is signalled later.
    pub(crate) fn kill(&self) -> io::Result<()> {
        // SAFETY: the handle is open.
        let result = check(unsafe { TerminateProcess(self.raw(), TERMINATED) });
        match result {
            Err(_) if self.has_ended(0).unwrap_or_default() => Ok(()),
            Err(_) if self.exit_code()? != STILL_ACTIVE => Ok(()),
            result => result,
        }
    }

    /// GetExitCodeProcess.
    fn exit_code(&self) -> io::Result<u32> {
        let mut code = 0;
        // SAFETY: the handle is open.
        check(unsafe { GetExitCodeProcess(self.raw(), &raw mut code) })?;
        Ok(code)
    }

    /// No: the handle keeps the process, whatever others do.
    pub(crate) fn is_gone(_error: &io::Error) -> bool {
        false
    }

    /// Blocks until the child has ended, or for `timeout`; then says how, if it has.
    pub(crate) fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<Exit>> {
        let milliseconds = u32::try_from(timeout.as_millis()).unwrap_or(INFINITE - 1);
        if !self.has_ended(milliseconds)? {
            return Ok(None);
        }
        Ok(Some(Exit {
            status: ExitStatus::Exited(self.exit_code()?),
            usage: self.usage(),
        }))
    }

    /// Blocks until the child has ended.
    pub(crate) fn wait_blocking(&mut self) -> ExitStatus {
        match self.has_ended(INFINITE).and_then(|_| self.try_wait()) {
            Ok(Some(exit)) => exit.status,
            _ => ExitStatus::Lost,
        }
    }

    /// WaitForSingleObject.
    fn has_ended(&self, milliseconds: u32) -> io::Result<bool> {
        // SAFETY: the handle is open.
        match unsafe { WaitForSingleObject(self.raw(), milliseconds) } {
            WAIT_FAILED => Err(io::Error::last_os_error()),
            waited => Ok(waited == WAIT_OBJECT_0),
        }
    }

    /// GetProcessTimes, GetProcessMemoryInfo.
    fn usage(&self) -> Usage {
        let mut times = [FILETIME::default(); 4];
        let [created, exited, system, user] = &mut times;
        let mut memory = PROCESS_MEMORY_COUNTERS::default();
        let size = size_of::<PROCESS_MEMORY_COUNTERS>() as u32;
        // SAFETY: the handle is open, and every pointer is to a value of the right type. What
        // cannot be had stays zero.
        unsafe {
            GetProcessTimes(self.raw(), created, exited, system, user);
            K32GetProcessMemoryInfo(self.raw(), &raw mut memory, size);
        }
        Usage {
            user: duration(user),
            system: duration(system),
            max_resident: Some(memory.PeakWorkingSetSize as u64),
        }
    }
}

/// Whether our console knows a process. `true` where that cannot be learnt: then sending it an event says
/// whether that can be done. GetConsoleProcessList.
fn is_attached(pid: u32) -> bool {
    let mut pids = vec![0; 64];
    while pids.len() <= 1 << 16 {
        let room = u32::try_from(pids.len()).unwrap_or(u32::MAX);
        // SAFETY: the memory has room for as many numbers as are told.
        let count = unsafe { GetConsoleProcessList(pids.as_mut_ptr(), room) } as usize;
        match pids.get(..count) {
            Some([]) => return true,
            Some(pids) => return pids.contains(&pid),
            // Nothing was stored: there are more.
            None => pids.resize(pids.len() * 2, 0),
        }
    }
    true
}

fn unsupported(signal: i32) -> io::Error {
    let text = format!("Unsupported signal: {signal}");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// A FILETIME counts tenths of a microsecond.
fn duration(time: &FILETIME) -> Duration {
    let ticks = u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    Duration::from_nanos(ticks.saturating_mul(100))
}

impl Drop for Process {
    fn drop(&mut self) {
        self.wait = None;
    }
}

/// A registered wait. RegisterWaitForSingleObject.
#[derive(Debug)]
struct RegisteredWait {
    handle: HANDLE,
    context: *mut Context,
}

#[derive(Debug)]
struct Context {
    /// Of a wait that cannot be ended this stays, and would keep the port open.
    port: Weak<Port>,
    token: usize,
}

// SAFETY: the handle is a number to us, and the context is touched by the system's thread only
// until the wait is unregistered, and by us only after that.
unsafe impl Send for RegisteredWait {}
// SAFETY: nothing is done through a shared reference.
unsafe impl Sync for RegisteredWait {}

impl RegisteredWait {
    /// Posts `token` to the port as soon as `process` ends. The process must stay open until this
    /// is dropped.
    fn new(process: HANDLE, port: &Arc<Port>, token: usize) -> io::Result<Self> {
        let port = Arc::downgrade(port);
        let mut wait = RegisteredWait {
            handle: ptr::null_mut(),
            context: Box::into_raw(Box::new(Context { port, token })),
        };
        let flags = WT_EXECUTEINWAITTHREAD | WT_EXECUTEONLYONCE;
        // SAFETY: the process is open, and the context lives until the wait is unregistered. On
        // failure the handle stays null, and the context is freed by the drop.
        check(unsafe {
            RegisterWaitForSingleObject(
                &raw mut wait.handle,
                process,
                Some(ended),
                wait.context.cast(),
                INFINITE,
                flags,
            )
        })?;
        Ok(wait)
    }
}

impl Drop for RegisteredWait {
    fn drop(&mut self) {
        // SAFETY: with INVALID_HANDLE_VALUE the call returns when the callback has returned or
        // will never be called. The callback does not wait for us: it only posts.
        let gone = self.handle.is_null()
            || unsafe { UnregisterWaitEx(self.handle, INVALID_HANDLE_VALUE) } != 0;
        if gone {
            // SAFETY: made by `Box::into_raw`, and this is the last pointer to it. If the wait could not
            // be unregistered, the memory is lost and nothing else.
            drop(unsafe { Box::from_raw(self.context) });
        }
    }
}

/// Runs in a thread of the system's.
unsafe extern "system" fn ended(context: *mut c_void, _timed_out: bool) {
    // SAFETY: the context is freed only after the wait was unregistered.
    let context = unsafe { &*context.cast::<Context>() };
    if let Some(port) = context.port.upgrade() {
        port.post(context.token, Readiness::default());
    }
}
