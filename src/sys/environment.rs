//! A child's environment, before a platform makes its strings of it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::VariableName;

/// A child's environment.
#[derive(Clone)]
pub(crate) enum Environment {
    /// The process's own as the system has it, also what is no variable.
    #[cfg_attr(
        not(feature = "python"),
        expect(dead_code, reason = "only an interpreter's lock makes it safe to read")
    )]
    Own,
    /// These variables and no others, as they are given: also two of one name.
    #[cfg_attr(
        not(any(feature = "python", all(test, windows))),
        expect(dead_code, reason = "only Python's mappings have two of one name")
    )]
    Exactly(Vec<(OsString, OsString)>),
    /// What calls of a builder have made of it.
    Changed(Changes),
}

/// The last change of each variable. A map, as a program may set a great many.
#[derive(Clone, Default)]
pub(crate) struct Changes {
    /// None of the process's own variables is there.
    cleared: bool,
    latest: BTreeMap<VariableName, Change>,
    /// How many changes there have been.
    count: u64,
}

#[derive(Clone)]
struct Change {
    /// Its place among all changes, also those that it has replaced.
    place: u64,
    /// `None` removes the variable.
    value: Option<OsString>,
}

impl Changes {
    fn set(&mut self, name: &OsStr, value: Option<&OsStr>) {
        let name = VariableName::from(name.to_owned());
        // The map would keep the name in its old spelling.
        self.latest.remove(&name);
        if self.cleared && value.is_none() {
            return;
        }
        let change = Change {
            place: self.count,
            value: value.map(OsStr::to_owned),
        };
        self.count += 1;
        self.latest.insert(name, change);
    }

    /// In the order in which they were made.
    fn in_order(&self) -> Vec<(&OsStr, Option<&OsStr>)> {
        let mut changes: Vec<_> = self.latest.iter().collect();
        changes.sort_unstable_by_key(|(_, change)| change.place);
        let changes = changes.into_iter();
        changes
            .map(|(name, change)| (name.as_os_str(), change.value.as_deref()))
            .collect()
    }
}

impl Environment {
    /// The process's own variables as they are at the start.
    pub(crate) fn inherited() -> Self {
        Environment::Changed(Changes::default())
    }

    /// No variables.
    pub(crate) fn cleared() -> Self {
        Environment::Changed(Changes {
            cleared: true,
            ..Changes::default()
        })
    }

    /// Sets a variable, or removes it.
    pub(crate) fn set(&mut self, name: &OsStr, value: Option<&OsStr>) {
        match self {
            Environment::Changed(changes) => return changes.set(name, value),
            Environment::Own => *self = Environment::inherited(),
            Environment::Exactly(pairs) => {
                let pairs = std::mem::take(pairs);
                *self = Environment::cleared();
                for (name, value) in pairs {
                    self.set(&name, Some(&value));
                }
            }
        }
        self.set(name, value);
    }

    /// What is set (`Some`) and removed (`None`) explicitly, in the order of the calls.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (&OsStr, Option<&OsStr>)> {
        let (changes, pairs) = match self {
            Environment::Own => (Vec::new(), &[][..]),
            Environment::Exactly(pairs) => (Vec::new(), &pairs[..]),
            Environment::Changed(changes) => (changes.in_order(), &[][..]),
        };
        let pairs = pairs.iter();
        let pairs = pairs.map(|(name, value)| (name.as_os_str(), Some(value.as_os_str())));
        changes.into_iter().chain(pairs)
    }

    /// Whether it is the process's own, with nothing changed.
    pub(crate) fn is_inherited(&self) -> bool {
        match self {
            Environment::Own => true,
            Environment::Exactly(_) => false,
            Environment::Changed(changes) => !changes.cleared && changes.latest.is_empty(),
        }
    }

    /// Calls `assign` with each variable: those of the process first, then those that are set.
    pub(crate) fn for_each<E>(
        &self,
        mut assign: impl FnMut(&OsStr, &OsStr) -> Result<(), E>,
    ) -> Result<(), E> {
        let changed = match self {
            Environment::Own => Some(&BTreeMap::new()),
            Environment::Changed(changes) if !changes.cleared => Some(&changes.latest),
            _ => None,
        };
        if let Some(changed) = changed {
            for (name, value) in std::env::vars_os() {
                let name = VariableName::from(name);
                if !changed.contains_key(&name) {
                    assign(name.as_os_str(), &value)?;
                }
            }
        }
        self.changes()
            .filter_map(|(name, value)| Some((name, value?)))
            .try_for_each(|(name, value)| assign(name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(env: &mut Environment, name: &str, value: Option<&str>) {
        env.set(name.as_ref(), value.map(OsStr::new));
    }

    fn changes(env: &Environment) -> Vec<(&str, Option<&str>)> {
        env.changes()
            .map(|(name, value)| (name.to_str().unwrap(), value.map(|v| v.to_str().unwrap())))
            .collect()
    }

    fn variables(env: &Environment) -> Vec<(OsString, OsString)> {
        let mut variables = Vec::new();
        env.for_each(|name, value| {
            variables.push((name.to_owned(), value.to_owned()));
            Ok::<_, std::convert::Infallible>(())
        })
        .unwrap();
        variables
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        let pairs = pairs.iter();
        pairs.map(|(n, v)| (n.into(), v.into())).collect()
    }

    /// One that the tests' process has.
    const OURS: &str = "PATH";

    #[test]
    fn the_last_change_of_a_variable_counts_and_has_its_place() {
        let mut env = Environment::inherited();
        assert!(env.is_inherited());
        for (name, value) in [
            ("b", Some("1")),
            ("a", Some("2")),
            ("c", None),
            ("b", Some("3")),
            ("a", None),
            ("c", Some("4")),
        ] {
            set(&mut env, name, value);
        }
        assert!(!env.is_inherited());
        let expected = [("b", Some("3")), ("a", None), ("c", Some("4"))];
        assert_eq!(changes(&env), expected);
        let ours =
            std::env::vars_os().filter(|(name, _)| name != "a" && name != "b" && name != "c");
        let expected: Vec<_> = ours.chain(pairs(&[("b", "3"), ("c", "4")])).collect();
        assert_eq!(variables(&env), expected);
    }

    #[test]
    fn a_variable_of_the_process_is_replaced_or_removed() {
        let value = std::env::var_os(OURS).unwrap();
        let of_ours = |env: &Environment| -> Vec<_> {
            let found = variables(env).into_iter();
            let found = found.filter(|(name, _)| name.eq_ignore_ascii_case(OURS));
            found.map(|(_, value)| value).collect()
        };
        let mut env = Environment::inherited();
        assert_eq!(of_ours(&env), [value]);
        set(&mut env, OURS, Some("x"));
        assert_eq!(of_ours(&env), ["x"]);
        assert_eq!(variables(&env).pop().unwrap().0, OURS);
        set(&mut env, OURS, None);
        assert!(of_ours(&env).is_empty());
        assert!(variables(&env).len() < std::env::vars_os().count());
    }

    #[test]
    fn a_cleared_one_has_what_was_set_and_forgets_what_was_removed() {
        let mut env = Environment::cleared();
        assert!(!env.is_inherited());
        assert!(variables(&env).is_empty());
        set(&mut env, "b", Some("1"));
        set(&mut env, "a", Some("2"));
        set(&mut env, OURS, None);
        set(&mut env, "b", None);
        assert_eq!(changes(&env), [("a", Some("2"))]);
        assert_eq!(variables(&env), pairs(&[("a", "2")]));
    }

    /// They are refused later, or are what the system takes.
    #[test]
    fn odd_names_are_names() {
        let mut env = Environment::cleared();
        for name in ["", "=C:", "a=b", "a", "\u{e9}"] {
            set(&mut env, name, Some("x"));
        }
        let names: Vec<_> = changes(&env).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["", "=C:", "a=b", "a", "\u{e9}"]);
    }

    #[test]
    fn case_counts_where_it_does_for_the_system() {
        let mut env = Environment::cleared();
        set(&mut env, "Path", Some("1"));
        set(&mut env, "PATH", Some("2"));
        if cfg!(windows) {
            assert_eq!(changes(&env), [("PATH", Some("2"))]);
            set(&mut env, "path", None);
            assert!(changes(&env).is_empty());
        } else {
            assert_eq!(changes(&env), [("Path", Some("1")), ("PATH", Some("2"))]);
        }
    }
}
