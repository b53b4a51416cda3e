//! A command in the form in which the child half can use it: C strings and numbers, no allocation.

use std::ffi::{CStr, CString, OsStr, OsString, c_char};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use super::os::cgroup::{self, CgroupKill};
use super::os::raw;
use super::{PlatformOptions, RawHandle, duplicate, os};
use crate::error::{SpawnError, Stage};
use crate::sys::environment::Environment;
#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::sys::spec::Groups;
use crate::sys::spec::{Attributes, Directory, Spec};

/// Looked up when the child's environment has no `PATH`: what `os.defpath` is in Python.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// C strings, one behind the other, with the null-terminated array of pointers that execve(2) wants.
struct CStrings {
    pointers: Vec<*const c_char>,
    _bytes: Vec<u8>,
}

// SAFETY: the pointers lead into the heap memory of `_bytes`, which is owned, never changed, and
// moves with them.
unsafe impl Send for CStrings {}
// SAFETY: nothing behind a shared reference is ever changed.
unsafe impl Sync for CStrings {}

/// [`CStrings`] to be.
#[derive(Default)]
struct Strings {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Strings {
    /// Adds the string that the parts make together. A NUL in it is `InvalidInput`.
    fn push(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        self.starts.push(self.bytes.len());
        for part in parts {
            if memchr::memchr(0, part).is_some() {
                return Err(null_byte());
            }
            self.bytes.extend_from_slice(part);
        }
        self.bytes.push(0);
        Ok(())
    }

    fn finish(self) -> CStrings {
        let pointer = |start: usize| self.bytes.get(start..).map(|rest| rest.as_ptr().cast());
        let mut pointers: Vec<_> = self.starts.into_iter().filter_map(pointer).collect();
        pointers.push(ptr::null());
        CStrings {
            pointers,
            _bytes: self.bytes,
        }
    }
}

/// Everything the child half needs to know of a [`Spec`], prepared before the clone.
pub(crate) struct Plan {
    argv: CStrings,
    envp: CStrings,
    /// The command sets no environment of its own.
    pub inherits_env: bool,
    pub candidates: Vec<CString>,
    pub cwd: Option<Cwd>,
    pub close_fds: bool,
    /// Ascending, all above 2.
    pub keep: Vec<RawHandle>,
    /// As given: made inheritable, also 0 to 2.
    pub inherit: Vec<RawHandle>,
    pub attributes: Attributes,
    /// A bit for each processor that the child may run on.
    pub processors: Option<Vec<usize>>,
    /// The directory of its control group.
    pub cgroup: Option<OwnedFd>,
    /// By which all that is in the control group is killed.
    pub cgroup_kill: Option<CgroupKill>,
    /// No descriptor is at or above this: for systems that must close them one by one.
    pub max_fd: RawHandle,
}

impl Plan {
    /// Checks and converts `spec`, and opens what it names. A NUL anywhere is `InvalidInput`,
    /// and what the system does not have is `Unsupported`.
    pub(crate) fn new(spec: &Spec) -> Result<Self, SpawnError> {
        let cgroup = spec.attributes.cgroup.as_ref().map(cgroup::open);
        let cgroup = cgroup.transpose().map_err(at(Stage::Cgroup))?;
        let kill = || cgroup.as_ref().map(CgroupKill::open).transpose();
        let cgroup_kill = if spec.attributes.cgroup_kill {
            kill().map_err(at(Stage::Cgroup))?
        } else {
            None
        };
        let cwd = spec.cwd.as_ref().map(Cwd::new).transpose();
        let plan = Plan {
            cwd: cwd.map_err(at(Stage::Chdir))?,
            cgroup,
            cgroup_kill,
            ..Plan::without_directories(spec).map_err(SpawnError::setup)?
        };
        Ok(plan)
    }

    fn without_directories(spec: &Spec) -> io::Result<Self> {
        let PlatformOptions {} = spec.platform;
        check(&spec.attributes)?;
        let mut argv = Strings::default();
        for arg in &spec.args {
            argv.push(&[arg.as_bytes()])?;
        }
        let (envp, path) = environment(&spec.env)?;
        let program = spec.executable.as_ref().or(spec.args.first());
        let program = program.ok_or(io::ErrorKind::InvalidInput)?;
        let candidates = candidates(program, path.as_deref())?;
        let above_2 = |fd: &RawHandle| *fd > 2;
        let mut keep: Vec<_> = spec.pass_fds.iter().copied().filter(above_2).collect();
        keep.sort_unstable();
        keep.dedup();
        let processors = spec.attributes.cpu_affinity.as_deref();
        Ok(Plan {
            argv: argv.finish(),
            envp: envp.finish(),
            inherits_env: spec.env.is_inherited(),
            candidates,
            cwd: None,
            close_fds: spec.close_fds,
            keep,
            inherit: spec.pass_fds.clone(),
            attributes: spec.attributes.clone(),
            processors: processors.map(bits).transpose()?,
            cgroup: None,
            cgroup_kill: None,
            max_fd: os::max_fd(),
        })
    }

    pub(crate) fn argv(&self) -> *const *const c_char {
        self.argv.pointers.as_ptr()
    }

    pub(crate) fn envp(&self) -> *const *const c_char {
        self.envp.pointers.as_ptr()
    }

    /// Whether the working directory is reached through a descriptor by its number, which must not be
    /// closed before.
    pub(crate) fn cwd_names_descriptor(&self) -> bool {
        let Some(Cwd::Path(dir)) = &self.cwd else {
            return self.cwd.is_some();
        };
        let dir = dir.to_bytes();
        dir.starts_with(b"/proc/") || dir.starts_with(b"/dev/fd")
    }

    /// Whether the child takes on another identity. Such a child must not share our memory: as
    /// soon as it has changed its user, processes of that user may trace it, and through it write
    /// to us (the reason for which CPython does not use vfork here either).
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn changes_identity(&self) -> bool {
        let this = &self.attributes;
        this.user.is_some() || this.group.is_some() || matches!(this.groups, Groups::Set(_))
    }
}

/// A child's working directory.
pub(crate) enum Cwd {
    Path(CString),
    /// A copy that is above 2, so that no standard stream takes its place.
    Descriptor(OwnedFd),
}

impl Cwd {
    fn new(dir: &Directory) -> io::Result<Self> {
        match dir {
            Directory::Path(path) => c_string(path).map(Cwd::Path),
            Directory::Descriptor(fd) => duplicate(*fd).map(Cwd::Descriptor),
        }
    }

    /// chdir(2), fchdir(2).
    pub(super) fn enter(&self) -> Result<(), raw::Errno> {
        match self {
            Cwd::Path(path) => raw::chdir(path),
            Cwd::Descriptor(fd) => raw::fchdir(fd.as_raw_fd()),
        }
    }
}

/// What needs no system to be refused.
fn check(given: &Attributes) -> io::Result<()> {
    os::check(given)?;
    let text = match given {
        _ if given.limits.iter().any(|limit| limit.soft > limit.hard) => {
            "a soft limit is above the hard one"
        }
        _ if given.nice.is_some_and(|nice| !(-20..20).contains(&nice)) => {
            "a niceness is from -20 to 19"
        }
        _ if given.cgroup_kill && given.cgroup.is_none() => "cgroup_kill needs a cgroup",
        _ => return Ok(()),
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

fn at(stage: Stage) -> impl Fn(io::Error) -> SpawnError {
    move |error| SpawnError::new(stage, error)
}

/// A bit for each of the numbers, in words as the kernel has them.
fn bits(numbers: &[usize]) -> io::Result<Vec<usize>> {
    // No system has more processors: Linux can be built for 8192.
    const MOST: usize = 1 << 16;
    let Some(last) = numbers.iter().max().filter(|last| **last < MOST) else {
        let text = "no such set of processors";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    };
    let width = usize::BITS as usize;
    let mut words = vec![0; last / width + 1];
    for number in numbers {
        if let Some(word) = words.get_mut(number / width) {
            *word |= 1 << (number % width);
        }
    }
    Ok(words)
}

/// The strings of an environment, and its `PATH`.
fn environment(env: &Environment) -> io::Result<(Strings, Option<OsString>)> {
    let mut strings = Strings::default();
    let mut path = None;
    if let Environment::Own = env {
        // SAFETY: Python changes the environment with the interpreter's lock held, which our caller
        // holds; an interpreter without one leaves that to its program, with `Popen` too.
        for entry in unsafe { own_entries() } {
            let value = entry.to_bytes().strip_prefix(b"PATH=");
            // getenv(3) finds the first.
            path = path.or(value.map(|value| OsStr::from_bytes(value).to_owned()));
            strings.push(&[entry.to_bytes()])?;
        }
        return Ok((strings, path));
    }
    // The last assignment wins, as in a Python dictionary; a shell would take the first.
    env.for_each(|name, value| {
        if name == "PATH" {
            path = Some(value.to_owned());
        }
        strings.push(&[name.as_bytes(), b"=", value.as_bytes()])
    })?;
    Ok((strings, path))
}

/// The strings of the process's environment as the system has them: std passes over those without `=`.
///
/// # Safety
/// No other thread changes the environment while they are used.
unsafe fn own_entries<'a>() -> impl Iterator<Item = &'a CStr> {
    let mut next = environ();
    std::iter::from_fn(move || {
        if next.is_null() {
            return None;
        }
        // SAFETY: an array of pointers to C strings that ends with a null.
        let entry = unsafe { *next };
        if entry.is_null() {
            return None;
        }
        // SAFETY: there is at least the null behind what was no null.
        next = unsafe { next.add(1) };
        // SAFETY: a C string, which is not changed: the caller's promise.
        Some(unsafe { CStr::from_ptr(entry) })
    })
}

/// The environment of this process as it is now.
pub(super) fn environ() -> *const *const c_char {
    #[cfg(target_vendor = "apple")]
    // SAFETY: gives the address of the variable, which is never null.
    return unsafe { *libc::_NSGetEnviron() }
        .cast_const()
        .cast::<*const c_char>();
    #[cfg(not(target_vendor = "apple"))]
    {
        unsafe extern "C" {
            static environ: *const *const c_char;
        }
        // SAFETY: a copy of the pointer.
        unsafe { environ }
    }
}

fn null_byte() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "embedded null byte")
}

fn c_string(s: impl AsRef<OsStr>) -> io::Result<CString> {
    CString::new(s.as_ref().as_bytes()).map_err(|_| null_byte())
}

/// The files to try, in order: the program itself if it names a directory, else one for each
/// element of `PATH` in the child's environment. An empty element is the current directory.
fn candidates(program: &OsStr, path: Option<&OsStr>) -> io::Result<Vec<CString>> {
    let name = program.as_bytes();
    if name.contains(&b'/') {
        return Ok(vec![c_string(program)?]);
    }
    let path = path.map_or(DEFAULT_PATH, OsStr::as_bytes);
    let join = |dir: &[u8]| {
        let mut file = dir.to_vec();
        if !file.is_empty() && !file.ends_with(b"/") {
            file.push(b'/');
        }
        file.extend_from_slice(name);
        c_string(OsStr::from_bytes(&file))
    };
    path.split(|byte| *byte == b':').map(join).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates_for(path: &str) -> Vec<String> {
        let found = candidates(OsStr::new("x"), Some(OsStr::new(path))).unwrap();
        found
            .into_iter()
            .map(|c| c.into_string().unwrap())
            .collect()
    }

    #[test]
    fn path_elements_are_joined_like_python_does() {
        assert_eq!(candidates_for("/a:/b/::c"), ["/a/x", "/b/x", "x", "c/x"]);
    }

    #[test]
    fn a_name_with_a_slash_is_not_searched() {
        assert_eq!(
            candidates(OsStr::new("./x"), None).unwrap(),
            [c"./x".to_owned()]
        );
    }

    #[test]
    fn without_path_the_default_is_searched() {
        let found = candidates(OsStr::new("x"), None).unwrap();
        assert_eq!(found, [c"/bin/x".to_owned(), c"/usr/bin/x".to_owned()]);
    }

    #[test]
    fn a_null_byte_is_refused() {
        let error = Plan::new(&Spec::new(OsStr::new("a\0b"))).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        // Each string by itself: what one check lets through, another may refuse.
        let changes: [fn(&mut Spec); 5] = [
            |spec| spec.args.push("a\0b".into()),
            |spec| spec.executable = Some("/a\0b".into()),
            |spec| spec.cwd = Some(Directory::Path("a\0b".into())),
            |spec| spec.env.set(OsStr::new("a\0b"), Some(OsStr::new("x"))),
            |spec| spec.env.set(OsStr::new("x"), Some(OsStr::new("a\0b"))),
        ];
        for change in changes {
            let mut spec = Spec::new(OsStr::new("/x"));
            assert!(Plan::new(&spec).is_ok());
            change(&mut spec);
            let error = Plan::new(&spec).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
