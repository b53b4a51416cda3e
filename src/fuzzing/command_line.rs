//! Command lines of Windows, taken apart again by the documented rules of the C runtime and of
//! `CommandLineToArgvW`.

use super::decisions::Decisions;
use crate::sys::command_line::{is_batch, join, join_for_batch};

const SPACE: u16 = b' ' as u16;
const TAB: u16 = b'\t' as u16;
const QUOTE: u16 = b'"' as u16;
const BACKSLASH: u16 = b'\\' as u16;

/// Makes a line of any arguments and takes it apart, and ends any name as that of a batch file.
pub fn command_line(input: &[u8]) {
    let mut input = Decisions(input);
    let mut args: Vec<Vec<u16>> = Vec::new();
    while args.is_empty() || !input.is_empty() {
        let length = input.below(12);
        args.push((0..length).map(|_| unit(&mut input)).collect());
    }
    // The name of a program holds no quotation mark and does not end as that of a folder; what takes a
    // line apart treats it by other rules.
    if let Some(program) = args.first_mut() {
        program.retain(|unit| *unit != QUOTE);
        program.push(u16::from(b'x'));
    }
    for end in [".bat", ".CMD", ".cmd . ", ".bat\\.", ".Bat/. ."] {
        let units = args.iter().flatten().copied();
        let name = String::from_utf16_lossy(&units.collect::<Vec<_>>()) + end;
        assert!(is_batch(&name.into()), "{end}");
    }
    let line = join(&args);
    assert_eq!(split(&line, Twice::StaysWithin), args, "C runtime");
    assert_eq!(split(&line, Twice::Leaves), args, "CommandLineToArgvW");
    let refused = |unit: &u16| is_one_of(*unit, "\"%\r\n");
    match join_for_batch(&args) {
        Err(_) => assert!(args.iter().flatten().any(refused), "refused without need"),
        Ok(line) => {
            assert!(!args.iter().flatten().any(refused), "not refused");
            assert_eq!(split(&line, Twice::StaysWithin), args, "batch file");
            check_for_cmd(&line);
        }
    }
}

fn unit(input: &mut Decisions<'_>) -> u16 {
    let special = [SPACE, TAB, QUOTE, BACKSLASH, BACKSLASH, b'a'.into()];
    match input.byte() {
        choice @ 0..=191 => {
            let at = usize::from(choice) % special.len();
            special.get(at).copied().unwrap_or_default()
        }
        192..=223 => input.one_of(b"&|<>^()!%=,;\r\n'`~").map_or(1, u16::from),
        // Any unit, half a surrogate pair as well; only null ends a line.
        _ => u16::from_be_bytes([input.byte(), input.byte()]).max(1),
    }
}

/// What two quotation marks within quotes are, besides one that stands for itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Twice {
    /// The C runtime since 2008: the quotes go on.
    StaysWithin,
    /// `CommandLineToArgvW`: they end.
    Leaves,
}

/// The program's name ends at the first space outside of quotes, and a backslash there is one.
/// After it, backslashes before a quotation mark count half, and an odd one makes it stand for itself.
fn split(line: &[u16], twice: Twice) -> Vec<Vec<u16>> {
    let is_space = |unit: u16| unit == SPACE || unit == TAB;
    let mut at = 0;
    let peek = |at: usize| line.get(at).copied();
    let (mut program, mut quoted) = (Vec::new(), false);
    while let Some(unit) = peek(at).filter(|unit| quoted || !is_space(*unit)) {
        match unit {
            QUOTE => quoted = !quoted,
            unit => program.push(unit),
        }
        at += 1;
    }
    let mut args = vec![program];
    loop {
        while peek(at).is_some_and(is_space) {
            at += 1;
        }
        if peek(at).is_none() {
            return args;
        }
        let (mut arg, mut quoted) = (Vec::new(), false);
        while let Some(unit) = peek(at).filter(|unit| quoted || !is_space(*unit)) {
            let mut backslashes = 0;
            while peek(at) == Some(BACKSLASH) {
                backslashes += 1;
                at += 1;
            }
            if peek(at) == Some(QUOTE) {
                arg.extend(std::iter::repeat_n(BACKSLASH, backslashes / 2));
                at += 1;
                if backslashes % 2 == 1 {
                    arg.push(QUOTE);
                } else if quoted && peek(at) == Some(QUOTE) {
                    arg.push(QUOTE);
                    at += 1;
                    quoted = twice == Twice::StaysWithin;
                } else {
                    quoted = !quoted;
                }
            } else if backslashes > 0 {
                arg.extend(std::iter::repeat_n(BACKSLASH, backslashes));
            } else {
                arg.push(unit);
                at += 1;
            }
        }
        args.push(arg);
    }
}

/// `cmd.exe` knows nothing of backslashes: each quotation mark opens or closes quotes. Outside of them
/// nothing may be left that it acts upon.
fn check_for_cmd(line: &[u16]) {
    let mut quoted = false;
    for &unit in line {
        if unit == QUOTE {
            quoted = !quoted;
        } else {
            let harmless = quoted || !is_one_of(unit, "&|<>^()!=,;'`~\t%\r\n");
            assert!(harmless, "{unit:#x} outside of quotes");
        }
    }
    assert!(!quoted, "quotes are left open");
}

fn is_one_of(unit: u16, set: &str) -> bool {
    set.encode_utf16().any(|other| other == unit)
}
