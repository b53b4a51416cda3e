//! Starting a program by posix_spawn(3): the first way on macOS, and on Linux one for tests.
//!
//! A fork copies the program that forks, with the locks that its other threads hold and what its
//! frameworks keep for themselves; Apple warns of that. There the kernel makes the child with its program
//! in one call: nothing of ours is copied, and none of our code runs in the child. What the call cannot
//! express goes the way of the fork ([`is_expressible`]), and so does what the C library is too old for.
//!
//! The call returns when the program was executed, so there is no report to wait for, and the caller is held
//! meanwhile. It returns one errno, and not the step that failed. Where only the exec can have failed that
//! way, the error is that of the exec; anything else is told by the fork, which is tried in its place
//! and reports its step. A posix_spawn that failed leaves nothing behind.
//!
//! The order of the file actions is that of the steps in [`child`](super::child).

use std::ffi::{CStr, c_char, c_int};
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::OnceLock;

use super::plan::Cwd;
use super::{Plan, RawHandle, duplicate};
use crate::error::{SpawnError, Stage};
use crate::sys::spec::{Attributes, Groups};

/// Starts `plan` with `stdio` as its standard streams, waits for the exec, and returns the pid. `None` is a
/// plan for another way: there is no child.
///
/// # Errors
/// That of the exec. There is no child.
pub(super) fn start(plan: &Plan, stdio: [Option<RawHandle>; 3]) -> Result<Option<i32>, SpawnError> {
    if !is_expressible(plan) {
        return Ok(None);
    }
    let streams = Streams::new(stdio).map_err(SpawnError::setup)?;
    // A lack of memory, or a number that the C library takes for no descriptor.
    let (Some(actions), Some(flags)) = (file_actions(plan, &streams), attributes(plan)) else {
        return Ok(None);
    };
    search(plan, &actions, &flags)
}

/// Whether the call can do all that the child would have to do of itself.
fn is_expressible(plan: &Plan) -> bool {
    // All of them, so that who adds one has to decide.
    let Attributes {
        restore_signals: _,
        new_session,
        process_group,
        user: None,
        group: None,
        groups: Groups::Keep | Groups::DropWithUser,
        umask: None,
        limits,
        nice: None,
        cpu_affinity: None,
        cgroup: None,
        cgroup_kill: _,
        no_new_privs: false,
        kill_on_parent_exit: false,
    } = &plan.attributes
    else {
        return false;
    };
    let absolute = |file: &std::ffi::CString| file.as_bytes().starts_with(b"/");
    limits.is_empty()
        // The leader of a session cannot change its group; that is for the fork to report.
        && !(*new_session && process_group.is_some())
        // macOS ignores a flag that it does not know. This one came with the working directories.
        && !(*new_session && extensions().add_chdir.is_none())
        // With a directory, macOS starts the program of a relative path and says that there is none.
        && (plan.cwd.is_none() || plan.candidates.iter().all(absolute))
}

/// Executes the first candidate that can be, as `child` does.
fn search(
    plan: &Plan,
    actions: &FileActions,
    flags: &SpawnAttributes,
) -> Result<Option<i32>, SpawnError> {
    // These may have failed, too, with the same errno.
    let other_steps = plan.cwd.is_some() || plan.attributes.process_group.is_some();
    let mut first = None;
    let mut last = libc::ENOENT;
    for file in &plan.candidates {
        let absent = if plan.candidates.len() > 1 {
            is_absent(file)
        } else {
            None
        };
        last = match absent.map_or_else(|| spawn(plan, file, actions, flags), Err) {
            Ok(pid) => return Ok(Some(pid)),
            Err(errno) => errno,
        };
        match last {
            libc::ENOENT | libc::ENOTDIR if absent.is_some() => {}
            _ if other_steps => return Ok(None),
            libc::ENOENT | libc::ENOTDIR => {}
            _ if is_of_exec(last, file) => first = first.or(Some(last)),
            _ => return Ok(None),
        }
    }
    if other_steps {
        return Ok(None);
    }
    let error = io::Error::from_raw_os_error(first.unwrap_or(last));
    Err(SpawnError::new(Stage::Exec, error))
}

/// Whether nothing but the exec can have failed like that. A sandbox may refuse the child as well as the file.
fn is_of_exec(errno: c_int, file: &CStr) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    match errno {
        libc::ENOEXEC | libc::ELOOP | libc::ENAMETOOLONG | libc::E2BIG | libc::ETXTBSY => true,
        libc::EACCES => {
            let refused = accessat(CWD, file, Access::EXEC_OK, AtFlags::EACCESS);
            refused == Err(rustix::io::Errno::ACCESS)
        }
        _ => false,
    }
}

/// Why a file of a search is passed over, if it is: a failed start of a process costs far more than a look.
fn is_absent(file: &CStr) -> Option<c_int> {
    match rustix::fs::stat(file) {
        Err(error @ (rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR)) => {
            Some(error.raw_os_error())
        }
        _ => None,
    }
}

/// posix_spawn(3), or its errno.
fn spawn(
    plan: &Plan,
    file: &CStr,
    actions: &FileActions,
    flags: &SpawnAttributes,
) -> Result<i32, c_int> {
    let mut pid = 0;
    loop {
        // SAFETY: the pid is ours; the file, the arguments and the environment are C strings and
        // null-terminated arrays of them, which live as long as the plan; the other two are initialized.
        let errno = unsafe {
            libc::posix_spawn(
                &raw mut pid,
                file.as_ptr(),
                &raw const actions.0,
                &raw const flags.0,
                plan.argv().cast(),
                plan.envp().cast(),
            )
        };
        match errno {
            0 => return Ok(pid),
            // macOS: a signal came while the program was being looked up.
            libc::EINTR => {}
            errno => return Err(errno),
        }
    }
}

/// What becomes descriptors 0, 1 and 2, in that order and one after the other.
struct Streams {
    sources: [Option<RawHandle>; 3],
    _copies: Vec<OwnedFd>,
}

impl Streams {
    /// A source that an earlier stream would overwrite is replaced by a copy of it.
    fn new(stdio: [Option<RawHandle>; 3]) -> io::Result<Self> {
        let mut streams = Streams {
            sources: stdio,
            _copies: Vec::new(),
        };
        for (target, source) in (0..).zip(&mut streams.sources) {
            if let Some(fd) = source
                && *fd < target
            {
                let copy = duplicate(*fd)?;
                *fd = copy.as_raw_fd();
                streams._copies.push(copy);
            }
        }
        Ok(streams)
    }
}

/// What the child is told to do with its descriptors and its directory.
fn file_actions(plan: &Plan, streams: &Streams) -> Option<FileActions> {
    let mut actions = FileActions::new()?;
    for fd in &plan.inherit {
        actions.inherit(*fd)?;
    }
    for (target, source) in (0..).zip(streams.sources) {
        match source {
            Some(fd) if fd == target => actions.inherit(fd)?,
            Some(fd) => actions.duplicate(fd, target)?,
            None if plan.close_fds => actions.leave(target)?,
            None => {}
        }
    }
    match &plan.cwd {
        None => {}
        Some(Cwd::Path(path)) => actions.change_directory(path)?,
        Some(Cwd::Descriptor(fd)) => actions.change_directory_to(fd)?,
    }
    if plan.close_fds {
        actions.close_from_3(&plan.keep)?;
    }
    Some(actions)
}

/// posix_spawn_file_actions_t. The methods are `None` where the C library cannot do it.
struct FileActions(libc::posix_spawn_file_actions_t);

impl FileActions {
    fn new() -> Option<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: initializes what it is given, unless it fails.
        succeeded(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: initialized just now.
        Some(FileActions(unsafe { actions.assume_init() }))
    }

    /// Makes `target` a copy of `fd`, two different numbers.
    fn duplicate(&mut self, fd: RawHandle, target: RawHandle) -> Option<()> {
        // SAFETY: the object is initialized.
        succeeded(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, fd, target) })
    }

    /// The path is copied.
    fn change_directory(&mut self, path: &CStr) -> Option<()> {
        let add = extensions().add_chdir?;
        // SAFETY: the function of that name; the object is initialized.
        succeeded(unsafe { add(&raw mut self.0, path.as_ptr()) })
    }

    fn change_directory_to(&mut self, dir: &OwnedFd) -> Option<()> {
        let add = extensions().add_fchdir?;
        // SAFETY: the function of that name; the object is initialized.
        succeeded(unsafe { add(&raw mut self.0, dir.as_raw_fd()) })
    }
}

/// Descriptors in the manner of macOS: all are closed but those that an action names (CLOSES_UNNAMED).
#[cfg(target_vendor = "apple")]
impl FileActions {
    /// The child has `fd` under the same number, whether it is close-on-exec here or not.
    fn inherit(&mut self, fd: RawHandle) -> Option<()> {
        unsafe extern "C" {
            fn posix_spawn_file_actions_addinherit_np(
                actions: *mut libc::posix_spawn_file_actions_t,
                fd: c_int,
            ) -> c_int;
        }
        // SAFETY: the object is initialized.
        succeeded(unsafe { posix_spawn_file_actions_addinherit_np(&raw mut self.0, fd) })
    }

    /// A standard stream is what it is here. To name one that is not open is an error.
    fn leave(&mut self, fd: RawHandle) -> Option<()> {
        // SAFETY: only numbers.
        match unsafe { libc::fcntl(fd, libc::F_GETFD) } {
            0 => self.inherit(fd),
            _ => Some(()),
        }
    }

    fn close_from_3(&mut self, _keep: &[RawHandle]) -> Option<()> {
        Some(())
    }
}

/// Descriptors in the manner of the C libraries of Linux.
#[cfg(not(target_vendor = "apple"))]
impl FileActions {
    /// A copy on itself stays open: glibc 2.29, musl 1.1.24, which are those with working directories.
    fn inherit(&mut self, fd: RawHandle) -> Option<()> {
        extensions().add_chdir?;
        self.duplicate(fd, fd)
    }

    #[expect(clippy::unused_self, clippy::unnecessary_wraps)]
    fn leave(&mut self, _fd: RawHandle) -> Option<()> {
        Some(())
    }

    /// One by one up to the last that is kept, and then all at once: glibc 2.34.
    fn close_from_3(&mut self, keep: &[RawHandle]) -> Option<()> {
        /// More than that is left to the fork, which closes ranges.
        const MOST: RawHandle = 1024;
        let add_close_from = extensions().add_close_from?;
        let from = keep.last().map_or(3, |last| last.saturating_add(1));
        if from > MOST {
            return None;
        }
        for fd in (3..from).filter(|fd| keep.binary_search(fd).is_err()) {
            // SAFETY: the object is initialized.
            succeeded(unsafe { libc::posix_spawn_file_actions_addclose(&raw mut self.0, fd) })?;
        }
        // SAFETY: the function of that name; the object is initialized.
        succeeded(unsafe { add_close_from(&raw mut self.0, from) })
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: the object is initialized, and not used any more.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

/// What the child is told to make of itself.
fn attributes(plan: &Plan) -> Option<SpawnAttributes> {
    let given = &plan.attributes;
    let mut attributes = SpawnAttributes::new()?;
    // That of the thread that asks for the child.
    let mut flags = attributes.set_mask()?;
    if given.restore_signals {
        flags |= attributes.set_default(&[libc::SIGPIPE, libc::SIGXFSZ])?;
    }
    if let Some(group) = given.process_group {
        flags |= attributes.set_group(group)?;
    }
    if given.new_session {
        flags |= SET_SESSION;
    }
    if plan.close_fds {
        flags |= CLOSES_UNNAMED;
    }
    attributes.set_flags(flags)?;
    Some(attributes)
}

/// POSIX_SPAWN_SETSID: glibc 2.26, macOS 10.15.
#[cfg(target_vendor = "apple")]
const SET_SESSION: c_int = 0x0400;
#[cfg(not(target_vendor = "apple"))]
const SET_SESSION: c_int = 0x80;

/// Every descriptor is treated as close-on-exec that no file action names.
#[cfg(target_vendor = "apple")]
const CLOSES_UNNAMED: c_int = libc::POSIX_SPAWN_CLOEXEC_DEFAULT;
#[cfg(not(target_vendor = "apple"))]
const CLOSES_UNNAMED: c_int = 0;

/// posix_spawnattr_t. What a method sets is done by the flag that it returns.
struct SpawnAttributes(libc::posix_spawnattr_t);

impl SpawnAttributes {
    fn new() -> Option<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: initializes what it is given, unless it fails.
        succeeded(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: initialized just now.
        Some(SpawnAttributes(unsafe { attributes.assume_init() }))
    }

    /// The signal mask of the calling thread. pthread_sigmask(3).
    fn set_mask(&mut self) -> Option<c_int> {
        let mut mask = empty_set();
        // SAFETY: writes to a live set.
        succeeded(unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, ptr::null(), &raw mut mask) })?;
        // SAFETY: the object is initialized, and copies the set.
        succeeded(unsafe { libc::posix_spawnattr_setsigmask(&raw mut self.0, &raw const mask) })?;
        Some(libc::POSIX_SPAWN_SETSIGMASK)
    }

    fn set_default(&mut self, signals: &[c_int]) -> Option<c_int> {
        let mut set = empty_set();
        for signal in signals {
            // SAFETY: changes a live set.
            succeeded(unsafe { libc::sigaddset(&raw mut set, *signal) })?;
        }
        // SAFETY: the object is initialized, and copies the set.
        succeeded(unsafe { libc::posix_spawnattr_setsigdefault(&raw mut self.0, &raw const set) })?;
        Some(libc::POSIX_SPAWN_SETSIGDEF)
    }

    fn set_group(&mut self, group: i32) -> Option<c_int> {
        // SAFETY: the object is initialized.
        succeeded(unsafe { libc::posix_spawnattr_setpgroup(&raw mut self.0, group) })?;
        Some(libc::POSIX_SPAWN_SETPGROUP)
    }

    fn set_flags(&mut self, flags: c_int) -> Option<()> {
        let flags = flags.try_into().ok()?;
        // SAFETY: the object is initialized.
        succeeded(unsafe { libc::posix_spawnattr_setflags(&raw mut self.0, flags) })
    }
}

impl Drop for SpawnAttributes {
    fn drop(&mut self) {
        // SAFETY: the object is initialized, and not used any more.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

fn empty_set() -> libc::sigset_t {
    // SAFETY: plain data, for which zeros are valid: the empty set on these systems.
    unsafe { mem::zeroed() }
}

fn succeeded(errno: c_int) -> Option<()> {
    (errno == 0).then_some(())
}

type AddPath = unsafe extern "C" fn(*mut libc::posix_spawn_file_actions_t, *const c_char) -> c_int;
type AddNumber = unsafe extern "C" fn(*mut libc::posix_spawn_file_actions_t, c_int) -> c_int;

/// What only newer C libraries have.
struct Extensions {
    /// glibc 2.29, musl 1.1.24, macOS 10.15.
    add_chdir: Option<AddPath>,
    add_fchdir: Option<AddNumber>,
    /// glibc 2.34.
    #[cfg(not(target_vendor = "apple"))]
    add_close_from: Option<AddNumber>,
}

fn extensions() -> &'static Extensions {
    static FOUND: OnceLock<Extensions> = OnceLock::new();
    FOUND.get_or_init(|| {
        // SAFETY: only looks up names. A pointer may be null, and so may an optional function be; each
        // name is that of a function with this signature wherever there is one.
        unsafe {
            let find = |name: &CStr| libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr());
            Extensions {
                add_chdir: mem::transmute::<*mut libc::c_void, Option<AddPath>>(find(
                    c"posix_spawn_file_actions_addchdir_np",
                )),
                add_fchdir: mem::transmute::<*mut libc::c_void, Option<AddNumber>>(find(
                    c"posix_spawn_file_actions_addfchdir_np",
                )),
                #[cfg(not(target_vendor = "apple"))]
                add_close_from: mem::transmute::<*mut libc::c_void, Option<AddNumber>>(find(
                    c"posix_spawn_file_actions_addclosefrom_np",
                )),
            }
        }
    })
}
