//! Command lines: on Windows a program is given one string and takes it apart by itself. Nothing here
//! calls the system, so that every system can test it.

use std::ffi::OsString;
use std::io;

const BACKSLASH: u16 = b'\\' as u16;
const QUOTE: u16 = b'"' as u16;
const SPACE: u16 = b' ' as u16;
const TAB: u16 = b'\t' as u16;

/// The line that the C library of the child takes apart into `args`: what Python's
/// `subprocess.list2cmdline` makes.
pub(crate) fn join(args: &[Vec<u16>]) -> Vec<u16> {
    let mut line = Vec::new();
    for arg in args {
        let quote = arg.is_empty() || arg.contains(&SPACE) || arg.contains(&TAB);
        append(&mut line, arg, quote);
    }
    line
}

/// Backslashes are themselves, unless they stand before a quote: then they are doubled.
fn append(line: &mut Vec<u16>, arg: &[u16], quote: bool) {
    if !line.is_empty() {
        line.push(SPACE);
    }
    if quote {
        line.push(QUOTE);
    }
    let mut backslashes = 0;
    for &unit in arg {
        if unit == QUOTE {
            line.extend(std::iter::repeat_n(BACKSLASH, backslashes + 1));
        }
        backslashes = if unit == BACKSLASH {
            backslashes + 1
        } else {
            0
        };
        line.push(unit);
    }
    if quote {
        line.extend(std::iter::repeat_n(BACKSLASH, backslashes));
        line.push(QUOTE);
    }
}

/// Whether a name is that of a batch file. Windows ignores dots and spaces at
/// the end of a file's name.
pub(crate) fn is_batch(program: &OsString) -> bool {
    let name = program.to_string_lossy().to_ascii_lowercase();
    let name = name.trim_end_matches(['.', ' ', '\\', '/']);
    name.ends_with(".bat") || name.ends_with(".cmd")
}

/// The same for a batch file, whose line `cmd.exe` reads first: it would run what stands behind
/// `&`, and put the values of variables in place of their names. Within quotes it does nothing but
/// the latter. So every argument that is not harmless is quoted, and what no quotes can make safe
/// is refused (CVE-2024-24576).
pub(crate) fn join_for_batch(args: &[Vec<u16>]) -> io::Result<Vec<u16>> {
    let mut line = Vec::new();
    for arg in args {
        if arg.iter().any(|unit| is_any_of(*unit, "\"%\r\n")) {
            let text = "an argument of a batch file contains what cmd.exe would interpret: \
                        a quotation mark, a percent sign or the end of a line";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let harmless = |unit: &u16| {
            u8::try_from(*unit).is_ok_and(|byte| byte.is_ascii_alphanumeric())
                || *unit >= 0x80
                || is_any_of(*unit, r"#$*+-./:?@\_")
        };
        let quote = arg.is_empty() || !arg.iter().all(harmless);
        append(&mut line, arg, quote);
    }
    Ok(line)
}

fn is_any_of(unit: u16, set: &str) -> bool {
    set.encode_utf16().any(|other| other == unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide(args: &[&str]) -> Vec<Vec<u16>> {
        args.iter()
            .map(|arg| arg.encode_utf16().collect())
            .collect()
    }

    fn joined(args: &[&str]) -> String {
        String::from_utf16(&join(&wide(args))).unwrap()
    }

    #[test]
    fn the_examples_of_list2cmdline() {
        // From CPython's test_subprocess.
        assert_eq!(joined(&["a b c", "d", "e"]), r#""a b c" d e"#);
        assert_eq!(joined(&[r#"ab"c"#, r"\", "d"]), r#"ab\"c \ d"#);
        assert_eq!(joined(&[r#"ab"c"#, r" \", "d"]), r#"ab\"c " \\" d"#);
        assert_eq!(joined(&[r"a\\\b", "de fg", "h"]), r#"a\\\b "de fg" h"#);
        assert_eq!(joined(&[r#"a\"b"#, "c", "d"]), r#"a\\\"b c d"#);
        assert_eq!(joined(&[r"a\\b c", "d", "e"]), r#""a\\b c" d e"#);
        assert_eq!(joined(&[r"a\\b\ c", "d", "e"]), r#""a\\b\ c" d e"#);
        assert_eq!(joined(&["ab", ""]), r#"ab """#);
    }

    #[test]
    fn batch_files_by_their_names() {
        for name in ["a.bat", "A.BAT", r"c:\x y\a.cmd", "a.bat.", "a.cmd . "] {
            assert!(is_batch(&name.into()), "{name}");
        }
        for name in ["a.exe", "bat", "a.bat.exe", "a.batx"] {
            assert!(!is_batch(&name.into()), "{name}");
        }
    }

    #[test]
    fn what_cmd_would_run_is_quoted() {
        let line =
            join_for_batch(&wide(&["a.bat", "x&calc", "a|b>c<d^e(f)", "plain", "é"])).unwrap();
        let expected = r#"a.bat "x&calc" "a|b>c<d^e(f)" plain é"#;
        assert_eq!(String::from_utf16(&line).unwrap(), expected);
    }

    #[test]
    fn what_quotes_cannot_hold_is_refused() {
        for arg in ["a\"&calc&\"", "%PATH%", "50%", "a\nb", "a\rb"] {
            let error = join_for_batch(&wide(&["a.bat", arg])).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{arg}");
        }
    }
}
