//! A command in the form in which `CreateProcessW` takes it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::windows::ffi::OsStrExt;

use super::{PlatformOptions, command_line};
use crate::command::Command;

/// Everything that `CreateProcessW` is told of a [`Command`]; every string ends with a null.
pub(crate) struct Plan {
    pub application: Option<Vec<u16>>,
    pub command_line: Vec<u16>,
    pub environment: Option<Vec<u16>>,
    pub directory: Option<Vec<u16>>,
    pub close_fds: bool,
    pub options: PlatformOptions,
}

impl Plan {
    /// Checks and converts `command`. `InvalidInput` for a NUL anywhere, for an environment that
    /// cannot be, and for options that Windows has not.
    pub(crate) fn new(command: &Command) -> io::Result<Self> {
        refuse_foreign_options(command)?;
        let directory = command.cwd.as_ref().map(|dir| dir.as_os_str());
        Ok(Plan {
            application: command.executable.as_deref().map(wide).transpose()?,
            command_line: line(command)?,
            environment: command.env.as_deref().map(environment).transpose()?,
            directory: directory.map(wide).transpose()?,
            close_fds: command.close_fds,
            options: command.platform_options.clone(),
        })
    }
}

fn refuse_foreign_options(command: &Command) -> io::Result<()> {
    let name = match command {
        c if !c.pass_fds.is_empty() => "pass_fds",
        c if c.new_session => "new_session",
        c if c.process_group.is_some() => "process_group",
        c if c.user.is_some() => "uid",
        c if c.group.is_some() => "gid",
        c if c.extra_groups.is_some() => "groups",
        c if c.umask.is_some() => "umask",
        _ => return Ok(()),
    };
    Err(invalid(&format!("{name} is not supported on Windows")))
}

fn line(command: &Command) -> io::Result<Vec<u16>> {
    if let Some(line) = &command.platform_options.command_line {
        return wide(line);
    }
    let program = command.executable.as_ref().or(command.args.first());
    let line = if program.is_some_and(command_line::is_batch) {
        command_line::join_for_batch(&command.args)?
    } else {
        command_line::join(&command.args)
    };
    terminated(line)
}

/// `NAME=VALUE` for each, sorted as Windows wants it, with a null after each and one at the end. Of
/// names that differ in their case only, which are the same name, the last counts.
fn environment(pairs: &[(OsString, OsString)]) -> io::Result<Vec<u16>> {
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
    Ok(block)
}

/// A name without regard to its case.
pub(super) fn upper_case(name: &OsStr) -> Vec<u16> {
    let mut upper = Vec::with_capacity(name.len());
    for unit in char::decode_utf16(name.encode_wide()) {
        match unit {
            Ok(char) => upper.extend(String::from_iter(char.to_uppercase()).encode_utf16()),
            Err(lone) => upper.push(lone.unpaired_surrogate()),
        }
    }
    upper
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
        environment(&pairs).map(|block| String::from_utf16(&block).unwrap())
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
    fn names_that_cannot_be() {
        assert!(block(&[("", "x")]).is_err());
        assert!(block(&[("a=b", "x")]).is_err());
        assert!(block(&[("a", "x\0y")]).is_err());
        assert_eq!(block(&[("=C:", "x")]).unwrap(), "=C:=x\0\0");
    }

    #[test]
    fn options_of_other_systems_are_refused() {
        assert!(Plan::new(Command::new("x").umask(0)).is_err());
        assert!(Plan::new(&Command::new("a\0b")).is_err());
        assert!(Plan::new(&Command::new("x")).is_ok());
    }
}
