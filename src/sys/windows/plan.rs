//! A command in the form in which `CreateProcessW` takes it.

use std::cmp::Ordering;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::ptr;

use windows_sys::Win32::Globalization::{
    CSTR_EQUAL, CSTR_GREATER_THAN, CSTR_LESS_THAN, CompareStringOrdinal,
};
use windows_sys::Win32::Storage::FileSystem::GetFullPathNameW;

use super::{PlatformOptions, command_line};
use crate::error::SpawnError;
use crate::sys::environment::Environment;
use crate::sys::spec::{Directory, Groups, Spec};

/// Everything that `CreateProcessW` is told of a [`Spec`]; every string ends with a null.
pub(crate) struct Plan {
    pub application: Option<Vec<u16>>,
    pub command_line: Vec<u16>,
    pub environment: Option<Vec<u16>>,
    pub directory: Option<Vec<u16>>,
    pub close_fds: bool,
    /// It is to be in a job of its own.
    pub job: bool,
    /// It is to be in the job that ends with this program.
    pub kill_on_parent_exit: bool,
    pub options: PlatformOptions,
}

impl Plan {
    /// Checks and converts `spec`. `InvalidInput` for a NUL anywhere, for an environment that
    /// cannot be, and for options that Windows has not.
    pub(crate) fn new(spec: &Spec) -> Result<Self, SpawnError> {
        Plan::checked(spec).map_err(SpawnError::setup)
    }

    fn checked(spec: &Spec) -> io::Result<Self> {
        refuse_foreign_options(spec)?;
        let directory = match &spec.cwd {
            Some(Directory::Path(dir)) => Some(dir.as_os_str()),
            Some(Directory::Descriptor(_)) => return Err(unsupported("a descriptor as directory")),
            None => None,
        };
        Ok(Plan {
            application: spec.executable.as_deref().map(wide).transpose()?,
            command_line: line(spec)?,
            environment: environment(&spec.env)?,
            directory: directory.map(wide).transpose()?,
            close_fds: spec.close_fds,
            job: spec.kill_group_on_drop,
            kill_on_parent_exit: spec.attributes.kill_on_parent_exit,
            options: spec.platform.clone(),
        })
    }
}

fn refuse_foreign_options(spec: &Spec) -> io::Result<()> {
    let given = &spec.attributes;
    let name = match given {
        _ if !spec.pass_fds.is_empty() => "pass_fds",
        _ if given.new_session => "new_session",
        _ if given.process_group.is_some() => "process_group",
        _ if given.user.is_some() => "uid",
        _ if given.group.is_some() => "gid",
        _ if matches!(given.groups, Groups::Set(_)) => "groups",
        _ if given.umask.is_some() => "umask",
        _ if !given.limits.is_empty() => return Err(unsupported("rlimit")),
        _ if given.nice.is_some() => return Err(unsupported("nice")),
        _ if given.cpu_affinity.is_some() => return Err(unsupported("cpu_affinity")),
        _ if given.cgroup.is_some() => return Err(unsupported("cgroup")),
        _ if given.no_new_privs => return Err(unsupported("no_new_privs")),
        _ => return Ok(()),
    };
    Err(invalid(&format!("{name} is not supported on Windows")))
}

fn unsupported(name: &str) -> io::Error {
    let text = format!("{name} is not to be had on Windows");
    io::Error::new(io::ErrorKind::Unsupported, text)
}

fn line(spec: &Spec) -> io::Result<Vec<u16>> {
    if let Some(line) = &spec.platform.command_line {
        return wide(line);
    }
    let program = spec.executable.as_ref().or(spec.args.first());
    let args = spec.args.iter().map(|arg| arg.encode_wide().collect());
    let args: Vec<Vec<u16>> = args.collect();
    let line = if program.map(is_batch).transpose()?.unwrap_or_default() {
        command_line::join_for_batch(&args)?
    } else {
        command_line::join(&args)
    };
    terminated(line)
}

/// Whether `CreateProcessW` takes a program for a batch file. It normalises the path first, and so do
/// we: `m.bat\\.` and `m.bat\\x\\..` are `m.bat`. What cannot be told is an error: it may be one.
fn is_batch(program: &OsString) -> io::Result<bool> {
    // The empty name has no path, and is no file's.
    if command_line::is_batch(program) || program.is_empty() {
        return Ok(!program.is_empty());
    }
    Ok(command_line::is_batch(&full_path(program)?))
}

/// GetFullPathNameW.
fn full_path(program: &OsStr) -> io::Result<OsString> {
    let program = wide(program)?;
    let mut path = vec![0_u16; 512];
    loop {
        let room = u32::try_from(path.len()).map_err(io::Error::other)?;
        // SAFETY: the name ends with a null, and the buffer has the size that is told.
        let length =
            unsafe { GetFullPathNameW(program.as_ptr(), room, path.as_mut_ptr(), ptr::null_mut()) };
        match length as usize {
            0 => return Err(io::Error::last_os_error()),
            length if length < path.len() => {
                return Ok(OsString::from_wide(path.get(..length).unwrap_or_default()));
            }
            // As much is needed.
            length => path.resize(length, 0),
        }
    }
}

/// `NAME=VALUE` for each, sorted as Windows wants it, with a null after each and one at the end. Of
/// names that differ in their case only, which are the same name, the last counts.
fn environment(env: &Environment) -> io::Result<Option<Vec<u16>>> {
    if env.is_inherited() {
        return Ok(None);
    }
    let mut pairs: Vec<(OsString, OsString)> = Vec::new();
    env.for_each(|name, value| {
        pairs.push((name.to_owned(), value.to_owned()));
        io::Result::Ok(())
    })?;
    let mut sorted = Vec::with_capacity(pairs.len());
    for (name, value) in &pairs {
        let units: Vec<u16> = name.encode_wide().collect();
        // The names of hidden variables begin with one.
        if units.is_empty() || units.iter().skip(1).any(|unit| *unit == u16::from(b'=')) {
            return Err(invalid("illegal environment variable name"));
        }
        sorted.push((units, value));
    }
    // Those with the same name stay in their order.
    sorted.sort_by(|(one, _), (other, _)| compare_names(one, other));
    let mut block = Vec::new();
    for (at, (name, value)) in sorted.iter().enumerate() {
        let next = sorted.get(at + 1);
        if next.is_some_and(|(next, _)| compare_names(name, next).is_eq()) {
            continue;
        }
        let mut entry = name.clone();
        entry.push(u16::from(b'='));
        entry.extend(value.encode_wide());
        block.extend(terminated(entry)?);
    }
    if block.is_empty() {
        block.push(0);
    }
    block.push(0);
    Ok(Some(block))
}

/// The order of names in an environment, without regard to their case. Windows folds each unit to one unit,
/// by a table of its own: `ß` and `SS` are two names. CompareStringOrdinal, as in std.
fn compare_names(one: &[u16], other: &[u16]) -> Ordering {
    let length = |units: &[u16]| i32::try_from(units.len()).unwrap_or(i32::MAX);
    // SAFETY: both strings have at least the length that is told.
    let result = unsafe {
        CompareStringOrdinal(
            one.as_ptr(),
            length(one),
            other.as_ptr(),
            length(other),
            1, // without regard to case
        )
    };
    match result {
        CSTR_LESS_THAN => Ordering::Less,
        CSTR_EQUAL => Ordering::Equal,
        CSTR_GREATER_THAN => Ordering::Greater,
        // For arguments that are none.
        _ => one.cmp(other),
    }
}

/// The name of a variable of the environment, in the order of Windows: names that differ in their case only are one.
#[derive(Clone)]
pub(crate) struct VariableName {
    name: OsString,
    /// The same, as it is compared.
    units: Vec<u16>,
}

impl VariableName {
    pub(crate) fn as_os_str(&self) -> &OsStr {
        &self.name
    }
}

impl From<OsString> for VariableName {
    fn from(name: OsString) -> Self {
        let units = name.encode_wide().collect();
        VariableName { name, units }
    }
}

impl Ord for VariableName {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_names(&self.units, &other.units)
    }
}

impl PartialOrd for VariableName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for VariableName {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for VariableName {}

fn wide(text: impl AsRef<OsStr>) -> io::Result<Vec<u16>> {
    terminated(text.as_ref().encode_wide().collect())
}

fn terminated(mut units: Vec<u16>) -> io::Result<Vec<u16>> {
    if units.contains(&0) {
        return Err(invalid("embedded null character"));
    }
    units.push(0);
    Ok(units)
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(pairs: &[(&str, &str)]) -> io::Result<String> {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| (k.into(), v.into())).collect();
        let block = environment(&Environment::Exactly(pairs))?;
        Ok(String::from_utf16(&block.unwrap()).unwrap())
    }

    #[test]
    fn an_environment_is_sorted_and_ends_twice() {
        assert_eq!(block(&[("b", "2"), ("A", "1")]).unwrap(), "A=1\0b=2\0\0");
        assert_eq!(block(&[]).unwrap(), "\0\0");
    }

    #[test]
    fn the_last_of_the_same_name_counts() {
        assert_eq!(
            block(&[("Path", "1"), ("PATH", "2")]).unwrap(),
            "PATH=2\0\0"
        );
    }

    #[test]
    fn names_are_folded_unit_by_unit() {
        assert_eq!(
            block(&[("\u{e9}", "1"), ("\u{c9}", "2")]).unwrap(),
            "\u{c9}=2\0\0"
        );
        assert_eq!(
            block(&[("ss", "1"), ("\u{df}", "2")]).unwrap(),
            "ss=1\0\u{df}=2\0\0"
        );
    }

    /// std asks Windows, too.
    #[test]
    fn names_are_the_same_to_us_that_are_to_std() {
        let letters = (0x80..0x1_0000).filter_map(char::from_u32);
        let folded = |name: &str| [name.to_uppercase(), name.to_lowercase()];
        let pairs = letters.flat_map(|letter| {
            let name = letter.to_string();
            folded(&name).map(|other| (name.clone(), other))
        });
        // Those of one case only cannot differ.
        for (name, other) in pairs.filter(|(name, other)| name != other) {
            let mut command = std::process::Command::new("x");
            let one = command.env(&name, "1").env(&other, "2").get_envs().count() == 1;
            let [first, second] =
                [&name, &other].map(|name| VariableName::from(OsString::from(name)));
            let same = first == second;
            assert_eq!(same, one, "{name} {other}");
            let entries = block(&[(&name, "1"), (&other, "2")]).unwrap();
            assert_eq!(entries.matches('=').count() == 1, one, "{name} {other}");
        }
    }

    #[test]
    fn names_that_cannot_be() {
        assert!(block(&[("", "x")]).is_err());
        assert!(block(&[("a=b", "x")]).is_err());
        assert!(block(&[("a", "x\0y")]).is_err());
        assert_eq!(block(&[("=C:", "x")]).unwrap(), "=C:=x\0\0");
    }

    #[test]
    fn a_batch_file_is_one_by_any_name() {
        for name in [
            "m.bat",
            "M.CMD",
            "m.bat. .",
            "m.bat\\.",
            "m.bat/.",
            "m.bat\\x\\..",
            "m.bat/x/..",
            "x\\..\\m.bat",
            ".\\m.bat\\.\\.",
            "m.cmd\\ ",
            "C:\\a\\m.bat\\..\\m.bat",
        ] {
            assert!(is_batch(&name.into()).unwrap(), "{name}");
        }
        for name in ["m.exe", "m", "bat", "m.bat\\x", "m.bat.exe", ""] {
            assert!(!is_batch(&name.into()).unwrap(), "{name}");
        }
    }

    #[test]
    fn options_of_other_systems_are_refused() {
        let spec = |program: &str| Spec::new(OsStr::new(program));
        let mut masked = spec("x");
        masked.attributes.umask = Some(0);
        assert!(Plan::new(&masked).is_err());
        assert!(Plan::new(&spec("a\0b")).is_err());
        assert!(Plan::new(&spec("x")).is_ok());
    }
}
