//! A command in the form in which the child half can use it: C strings and numbers, no allocation.

use std::ffi::{CStr, CString, OsStr, c_char};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use super::{PlatformOptions, RawHandle, os};
use crate::command::Command;

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

/// Everything the child half needs to know of a [`Command`], prepared before the clone.
pub(crate) struct Plan {
    argv: CStrings,
    envp: CStrings,
    /// The command sets no environment of its own.
    pub inherits_env: bool,
    pub candidates: Vec<CString>,
    pub cwd: Option<CString>,
    pub close_fds: bool,
    /// Ascending, all above 2.
    pub keep: Vec<RawHandle>,
    /// As given: made inheritable, also 0 to 2.
    pub inherit: Vec<RawHandle>,
    pub restore_signals: bool,
    pub new_session: bool,
    pub process_group: Option<i32>,
    pub user: Option<u32>,
    pub group: Option<u32>,
    pub groups: Option<Vec<u32>>,
    pub umask: Option<u32>,
    /// No descriptor is at or above this: for systems that must close them one by one.
    pub max_fd: RawHandle,
}

impl Plan {
    /// Checks and converts `command`. A NUL anywhere is `InvalidInput`.
    pub(crate) fn new(command: &Command) -> io::Result<Self> {
        let PlatformOptions {} = command.platform_options;
        let mut argv = Strings::default();
        for arg in &command.args {
            argv.push(&[arg.as_bytes()])?;
        }
        let mut envp = Strings::default();
        // The last assignment wins, as in a Python dictionary; a shell would take the first.
        let mut path = None;
        let mut assign = |name: &OsStr, value: &OsStr| {
            if name == "PATH" {
                path = Some(value.to_owned());
            }
            envp.push(&[name.as_bytes(), b"=", value.as_bytes()])
        };
        match &command.env {
            Some(env) => env
                .iter()
                .try_for_each(|(name, value)| assign(name, value))?,
            None => std::env::vars_os().try_for_each(|(name, value)| assign(&name, &value))?,
        }
        let program = command.executable.as_ref().or(command.args.first());
        let program = program.ok_or(io::ErrorKind::InvalidInput)?;
        let candidates = candidates(program, path.as_deref())?;
        let mut keep: Vec<_> = command
            .pass_fds
            .iter()
            .copied()
            .filter(|fd| *fd > 2)
            .collect();
        keep.sort_unstable();
        keep.dedup();
        Ok(Plan {
            argv: argv.finish(),
            envp: envp.finish(),
            inherits_env: command.env.is_none(),
            candidates,
            cwd: command
                .cwd
                .as_ref()
                .map(|dir| c_string(dir.as_os_str()))
                .transpose()?,
            close_fds: command.close_fds,
            keep,
            inherit: command.pass_fds.clone(),
            restore_signals: command.restore_signals,
            new_session: command.new_session,
            process_group: command.process_group,
            user: command.user,
            group: command.group,
            groups: command.extra_groups.clone(),
            umask: command.umask,
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
        let dir = self.cwd.as_deref().map_or(&b""[..], CStr::to_bytes);
        dir.starts_with(b"/proc/") || dir.starts_with(b"/dev/fd")
    }

    /// Whether the child takes on another identity. Such a child must not share our memory: as
    /// soon as it has changed its user, processes of that user may trace it, and through it write
    /// to us (the reason for which CPython does not use vfork here either).
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn changes_identity(&self) -> bool {
        self.user.is_some() || self.group.is_some() || self.groups.is_some()
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
        let error = Plan::new(&Command::new("a\0b")).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
