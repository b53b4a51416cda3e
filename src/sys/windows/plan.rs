//! A command in the form in which `CreateProcessW` takes it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::ptr;

use windows_sys::Win32::Storage::FileSystem::GetFullPathNameW;

use super::{PlatformOptions, command_line};
use crate::error::SpawnError;
use crate::sys::spec::{Directory, Environment, Groups, Spec};

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
    let line = if program.is_some_and(is_batch) {
        command_line::join_for_batch(&spec.args)?
    } else {
        command_line::join(&spec.args)
    };
    terminated(line)
}

/// Whether `CreateProcessW` takes a program for a batch file. It normalises the path first, and so do
/// we: `m.bat\\.` and `m.bat\\x\\..` are `m.bat`. GetFullPathNameW.
fn is_batch(program: &OsString) -> bool {
    command_line::is_batch(program)
        || full_path(program).is_some_and(|path| command_line::is_batch(&path))
}

fn full_path(program: &OsStr) -> Option<OsString> {
    let program = wide(program).ok()?;
    let mut path = vec![0_u16; 512];
    loop {
        let room = u32::try_from(path.len()).ok()?;
        // SAFETY: the name ends with a null, and the buffer has the size that is told.
        let length =
            unsafe { GetFullPathNameW(program.as_ptr(), room, path.as_mut_ptr(), ptr::null_mut()) };
        match usize::try_from(length).ok()? {
            0 => return None,
            length if length < path.len() => {
                return Some(OsString::from_wide(path.get(..length)?));
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
    for (index, (name, value)) in pairs.iter().enumerate() {
        let units: Vec<u16> = name.encode_wide().collect();
        // The names of hidden variables begin with one.
        if units.is_empty() || units.iter().skip(1).any(|unit| *unit == u16::from(b'=')) {
            return Err(invalid("illegal environment variable name"));
        }
        sorted.push((upper_case(name), index, units, value));
    }
    sorted.sort();
    let mut block = Vec::new();
    for (at, (upper, _, name, value)) in sorted.iter().enumerate() {
        if sorted.get(at + 1).is_some_and(|(next, ..)| next == upper) {
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

/// A name without regard to its case. Windows folds each unit to one unit: `ß` and `SS` are two names.
pub(super) fn upper_case(name: &OsStr) -> Vec<u16> {
    let fold = |unit: u16| {
        let mut upper = char::from_u32(unit.into())?.to_uppercase();
        match (upper.next(), upper.next()) {
            (Some(one), None) => u16::try_from(u32::from(one)).ok(),
            _ => None,
        }
    };
    name.encode_wide()
        .map(|unit| fold(unit).unwrap_or(unit))
        .collect()
}

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
            assert!(is_batch(&name.into()), "{name}");
        }
        for name in ["m.exe", "m", "bat", "m.bat\\x", "m.bat.exe", ""] {
            assert!(!is_batch(&name.into()), "{name}");
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
