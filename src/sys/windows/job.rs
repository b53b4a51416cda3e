//! A job object: a child from its birth on, with everything that it starts.

use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr;
use std::sync::{PoisonError, RwLock};

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::JobObjects::{
    CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    JobObjectExtendedLimitInformation, SetInformationJobObject, TerminateJobObject,
};

use super::handle::{check, own};

/// The exit code of processes that were ended, as `Popen.terminate` has it.
pub(super) const TERMINATED: u32 = 1;

/// The job of the children that end with this program.
static OF_PROGRAM: RwLock<Option<&'static JobObject>> = RwLock::new(None);

/// A job that no process can leave, and whose processes end when its last handle is closed: also when
/// this program is killed.
#[derive(Debug)]
pub(super) struct JobObject(OwnedHandle);

impl JobObject {
    /// CreateJobObjectW, SetInformationJobObject.
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: without a name and without attributes; the handle is new.
        let job = JobObject(unsafe { own(CreateJobObjectW(ptr::null(), ptr::null()))? });
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
        let size = size_of::<JOBOBJECT_EXTENDED_LIMIT_INFORMATION>() as u32;
        // SAFETY: the job is open, and the pointer is to a value of the kind and size that are named.
        check(unsafe {
            SetInformationJobObject(
                job.raw(),
                JobObjectExtendedLimitInformation,
                (&raw const limits).cast(),
                size,
            )
        })?;
        Ok(job)
    }

    /// That of this program: nothing closes it but the end of the program, however that comes.
    pub(super) fn of_program() -> io::Result<&'static Self> {
        let job = *OF_PROGRAM.read().unwrap_or_else(PoisonError::into_inner);
        job.map_or_else(|| Ok(JobObject::new()?.become_that_of_program()), Ok)
    }

    /// Takes the place of the one before, which stays open: to close it would end what is in it.
    pub(super) fn become_that_of_program(self) -> &'static Self {
        let job = &*Box::leak(Box::new(self));
        *OF_PROGRAM.write().unwrap_or_else(PoisonError::into_inner) = Some(job);
        job
    }

    pub(super) fn raw(&self) -> HANDLE {
        self.0.as_raw_handle()
    }

    /// Ends all that is in it. TerminateJobObject.
    pub(super) fn terminate(&self) -> io::Result<()> {
        // SAFETY: the job is open.
        check(unsafe { TerminateJobObject(self.raw(), TERMINATED) })
    }
}
