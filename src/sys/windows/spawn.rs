//! Starting a child: `CreateProcessW`, which knows at once whether the program could be loaded.
//!
//! # Which handles a child gets
//! Windows gives a child the handles that are inheritable, all of them or, by
//! PROC_THREAD_ATTRIBUTE_HANDLE_LIST, those on a list. Ours are not inheritable; copies that are
//! exist only round the call. While they exist no child of ours is started without a list, in
//! whatever thread: a lock sees to that. Without it a pipe could leak into a sibling, and its
//! end would not be seen until the sibling ends too.

use std::io;
use std::mem;
use std::os::windows::io::OwnedHandle;
use std::ptr;
use std::sync::{PoisonError, RwLock};

use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, HANDLE};
use windows_sys::Win32::Storage::FileSystem::{FILE_TYPE_CHAR, GetFileType};
use windows_sys::Win32::System::Console::{STD_ERROR_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE};
use windows_sys::Win32::System::Threading::{
    CREATE_NEW_CONSOLE, CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW, CREATE_UNICODE_ENVIRONMENT,
    CreateProcessW, DETACHED_PROCESS, DeleteProcThreadAttributeList, EXTENDED_STARTUPINFO_PRESENT,
    InitializeProcThreadAttributeList, LPPROC_THREAD_ATTRIBUTE_LIST,
    PROC_THREAD_ATTRIBUTE_HANDLE_LIST, PROC_THREAD_ATTRIBUTE_JOB_LIST, PROCESS_CREATION_FLAGS,
    PROCESS_INFORMATION, STARTF_USESTDHANDLES, STARTUPINFOEXW, STARTUPINFOW,
    UpdateProcThreadAttribute,
};

use super::handle::{check, inheritable, own, raw, standard, system};
use super::job::JobObject;
use super::{Interest, Plan, Poller, Process, RawHandle, Watched};
use crate::error::{SpawnError, Stage};

/// Held shared while handles of ours are inheritable, exclusively by a start that inherits all.
/// One for the process, as its table of handles is.
static INHERITANCE: RwLock<()> = RwLock::new(());

const DENIED: i32 = ERROR_ACCESS_DENIED.cast_signed();

/// There is no fork here.
pub(crate) trait Fork {}

/// So no code of the caller's runs in a child.
#[derive(Clone, Debug)]
pub(crate) enum PreExec {}

impl Fork for PreExec {}

/// There is none to wait for: when `spawn` returns, the program runs.
#[derive(Debug)]
pub(crate) enum ExecReport {}

impl ExecReport {
    pub(crate) fn try_get(&mut self) -> io::Result<Option<Result<(), SpawnError>>> {
        match *self {}
    }

    pub(crate) fn conclude(&mut self) -> Result<(), SpawnError> {
        match *self {}
    }

    pub(crate) fn remind(&self, _poller: &Poller, _token: usize) {
        match *self {}
    }
}

impl Watched for ExecReport {
    fn watch(&self, _poller: &Poller, _token: usize, _interest: Interest) -> io::Result<()> {
        match *self {}
    }

    fn rewatch(&self, _poller: &Poller, _token: usize, _interest: Interest) -> io::Result<()> {
        match *self {}
    }

    fn unwatch(&self, _poller: &Poller) {
        match *self {}
    }
}

/// Makes children.
pub(crate) struct Spawner;

impl Spawner {
    pub(crate) fn new() -> Self {
        Spawner
    }

    /// Starts `plan` with `stdio` as its standard streams. When this returns an error there is no
    /// child.
    pub(crate) fn spawn(
        &self,
        mut plan: Plan,
        stdio: [Option<RawHandle>; 3],
        _fork: Option<&mut dyn Fork>,
    ) -> Result<(Process, Option<ExecReport>), SpawnError> {
        // Before the lock: to make a job takes none of what it protects.
        let jobs = Jobs::new(&plan)?;
        let redirected = stdio.iter().any(Option::is_some);
        let limited = !plan.options.handle_list.is_empty() || (redirected && plan.close_fds);
        let inherits = redirected || limited || !plan.close_fds;
        let (mut _shared, mut _exclusive) = (None, None);
        if inherits && !limited {
            _exclusive = Some(INHERITANCE.write().unwrap_or_else(PoisonError::into_inner));
        } else if inherits {
            _shared = Some(INHERITANCE.read().unwrap_or_else(PoisonError::into_inner));
        }
        let streams = if redirected {
            Some(Streams::new(stdio).map_err(SpawnError::setup)?)
        } else {
            None
        };
        let mut list = Vec::new();
        if limited {
            let ours = streams.iter().flat_map(Streams::raw);
            let handles = plan.options.handle_list.iter().copied().chain(ours);
            list.extend(handles.map(system).filter(|handle| is_listable(*handle)));
            list.sort_unstable();
            list.dedup();
        }
        let (pid, handle) = jobs.with(&mut plan, |plan, jobs| {
            let mut attributes = AttributeList::new(&list, jobs).map_err(SpawnError::setup)?;
            let startup = startup(plan, streams.as_ref(), &mut attributes);
            let inherits = !list.is_empty() || !plan.close_fds;
            create(plan, &startup, inherits).map_err(|error| SpawnError::new(Stage::Exec, error))
        })?;
        let has_console_group = leads_group_of_our_console(plan.options.creation_flags);
        Ok((Process::new(pid, handle, jobs.own, has_console_group), None))
    }
}

/// The jobs that a child is in from its birth on.
struct Jobs {
    of_program: Option<&'static JobObject>,
    own: Option<JobObject>,
}

impl Jobs {
    fn new(plan: &Plan) -> Result<Self, SpawnError> {
        let own = plan.job.then(JobObject::new).transpose();
        let of_program = plan
            .kill_on_parent_exit
            .then(JobObject::of_program)
            .transpose();
        Ok(Jobs {
            of_program: of_program.map_err(|error| SpawnError::new(Stage::ParentExit, error))?,
            own: own.map_err(SpawnError::setup)?,
        })
    }

    /// Starts a child by `start`. The job of the program is denied to a child when the program has itself been
    /// put into another job since the first child was put into its own: then that one cannot be nested where the
    /// new child has to be. A new job can.
    fn with<T>(
        &self,
        plan: &mut Plan,
        mut start: impl FnMut(&mut Plan, &[HANDLE]) -> Result<T, SpawnError>,
    ) -> Result<T, SpawnError> {
        // The call may change it.
        let command_line = self.of_program.map(|_| plan.command_line.clone());
        let mut started = start(plan, &self.raw(self.of_program));
        let denied = |error: &SpawnError| error.io_error().raw_os_error() == Some(DENIED);
        if let Some(command_line) = command_line
            && started.as_ref().is_err_and(denied)
        {
            plan.command_line = command_line;
            let fresh =
                JobObject::new().map_err(|error| SpawnError::new(Stage::ParentExit, error))?;
            started = start(plan, &self.raw(Some(&fresh)));
            if started.is_ok() {
                fresh.become_that_of_program();
            }
        }
        // Or the program may not be executed. The system says the same of both.
        let in_a_job = self.of_program.is_some() || self.own.is_some();
        started.map_err(|error| {
            if in_a_job && denied(&error) {
                SpawnError::new(Stage::Job, error.into())
            } else {
                error
            }
        })
    }

    /// The child's own is to be nested in that of the program, and so comes later.
    fn raw(&self, of_program: Option<&JobObject>) -> Vec<HANDLE> {
        let jobs = of_program.into_iter().chain(&self.own);
        jobs.map(JobObject::raw).collect()
    }
}

/// Whether a child that is made with these flags leads a process group of the console that we have. With a
/// console of its own, or none, it is not made a leader, or not there.
fn leads_group_of_our_console(flags: PROCESS_CREATION_FLAGS) -> bool {
    let elsewhere = CREATE_NEW_CONSOLE | DETACHED_PROCESS | CREATE_NO_WINDOW;
    flags & CREATE_NEW_PROCESS_GROUP != 0 && flags & elsewhere == 0
}

/// The three streams of the child, in copies that it inherits.
struct Streams([OwnedHandle; 3]);

impl Streams {
    /// What is not given is ours. If we have none either, it is a pipe whose other end is closed,
    /// as for `Popen`.
    fn new([stdin, stdout, stderr]: [Option<RawHandle>; 3]) -> io::Result<Self> {
        let find = |given: Option<RawHandle>, which| given.or_else(|| standard(which));
        let stdin = match find(stdin, STD_INPUT_HANDLE) {
            Some(handle) => inheritable(handle)?,
            None => inheritable(raw(&io::pipe()?.0))?,
        };
        let output = |given, which| match find(given, which) {
            Some(handle) => inheritable(handle),
            None => inheritable(raw(&io::pipe()?.1)),
        };
        let stdout = output(stdout, STD_OUTPUT_HANDLE)?;
        let stderr = output(stderr, STD_ERROR_HANDLE)?;
        Ok(Streams([stdin, stdout, stderr]))
    }

    fn raw(&self) -> [RawHandle; 3] {
        self.0.each_ref().map(raw)
    }
}

/// Older consoles have handles that are none of the kernel's and cannot be on a list; they are
/// inherited without it.
fn is_listable(handle: HANDLE) -> bool {
    // SAFETY: the number is only looked up.
    handle.addr() & 3 != 3 || unsafe { GetFileType(handle) } != FILE_TYPE_CHAR
}

/// The attributes of a new process: the list of handles that it inherits, and the jobs that it is in
/// from its birth on.
struct AttributeList<'a> {
    memory: Vec<usize>,
    handles: &'a [HANDLE],
    jobs: &'a [HANDLE],
}

impl<'a> AttributeList<'a> {
    const COUNT: u32 = 2;

    /// No memory, and no attributes, without handles.
    fn new(handles: &'a [HANDLE], jobs: &'a [HANDLE]) -> io::Result<Self> {
        let mut attributes = AttributeList {
            memory: Vec::new(),
            handles,
            jobs,
        };
        if handles.is_empty() && jobs.is_empty() {
            return Ok(attributes);
        }
        let mut size = 0;
        // SAFETY: without memory the call only says how much is needed, as an error.
        let asked = check(unsafe {
            InitializeProcThreadAttributeList(ptr::null_mut(), Self::COUNT, 0, &raw mut size)
        });
        if size == 0 {
            asked?;
        }
        attributes.memory = vec![0; size.div_ceil(size_of::<usize>())];
        let list = attributes.list();
        // SAFETY: the memory has the size that was asked for, and the alignment of a pointer.
        let made = check(unsafe {
            InitializeProcThreadAttributeList(list, Self::COUNT, 0, &raw mut size)
        });
        if made.is_err() {
            attributes.memory.clear(); // nothing to delete
        }
        made?;
        attributes.add(PROC_THREAD_ATTRIBUTE_HANDLE_LIST, handles)?;
        attributes.add(PROC_THREAD_ATTRIBUTE_JOB_LIST, jobs)?;
        Ok(attributes)
    }

    /// UpdateProcThreadAttribute.
    fn add(&mut self, attribute: u32, handles: &'a [HANDLE]) -> io::Result<()> {
        if handles.is_empty() {
            return Ok(());
        }
        debug_assert!([self.handles, self.jobs].contains(&handles));
        // SAFETY: the list was made for as many attributes as there are. The handles are borrowed for
        // as long as it lives: the system keeps the pointer.
        check(unsafe {
            UpdateProcThreadAttribute(
                self.list(),
                0,
                attribute as usize,
                handles.as_ptr().cast(),
                mem::size_of_val(handles),
                ptr::null_mut(),
                ptr::null(),
            )
        })
    }

    /// Null when there are none.
    fn list(&mut self) -> LPPROC_THREAD_ATTRIBUTE_LIST {
        if self.memory.is_empty() {
            return ptr::null_mut();
        }
        self.memory.as_mut_ptr().cast()
    }
}

impl Drop for AttributeList<'_> {
    fn drop(&mut self) {
        let list = self.list();
        if !list.is_null() {
            // SAFETY: it was initialised.
            unsafe { DeleteProcThreadAttributeList(list) };
        }
    }
}

fn startup(
    plan: &Plan,
    streams: Option<&Streams>,
    attributes: &mut AttributeList<'_>,
) -> STARTUPINFOEXW {
    let mut flags = plan.options.startup_flags;
    let [stdin, stdout, stderr] = match streams {
        Some(streams) => {
            flags |= STARTF_USESTDHANDLES;
            streams.raw().map(system)
        }
        None => plan.options.standard.map(system),
    };
    STARTUPINFOEXW {
        StartupInfo: STARTUPINFOW {
            cb: size_of::<STARTUPINFOEXW>() as u32,
            dwFlags: flags,
            wShowWindow: plan.options.show_window,
            hStdInput: stdin,
            hStdOutput: stdout,
            hStdError: stderr,
            ..STARTUPINFOW::default()
        },
        lpAttributeList: attributes.list(),
    }
}

/// The number of the new process, and its handle.
fn create(
    plan: &mut Plan,
    startup: &STARTUPINFOEXW,
    inherits: bool,
) -> io::Result<(u32, OwnedHandle)> {
    fn pointer(text: Option<&Vec<u16>>) -> *const u16 {
        text.map_or(ptr::null(), |text| text.as_ptr())
    }
    let flags =
        plan.options.creation_flags | CREATE_UNICODE_ENVIRONMENT | EXTENDED_STARTUPINFO_PRESENT;
    let mut made = PROCESS_INFORMATION::default();
    // SAFETY: every string ends with a null, the environment with two, and the command line may be
    // changed by the call. The start-up information is an extended one, as the flags say; its list
    // is null or lives as long. The two handles are new.
    unsafe {
        check(CreateProcessW(
            pointer(plan.application.as_ref()),
            plan.command_line.as_mut_ptr(),
            ptr::null(),
            ptr::null(),
            inherits.into(),
            flags,
            pointer(plan.environment.as_ref()).cast(),
            pointer(plan.directory.as_ref()),
            (&raw const *startup).cast(),
            &raw mut made,
        ))?;
        drop(own(made.hThread));
        Ok((made.dwProcessId, own(made.hProcess)?))
    }
}
