//! Who this process is to the kernel, and whether it may become another: credentials(7).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU64;

use super::raw;

/// More supplementary groups than these are not compared.
const GROUPS: usize = 64;

/// Whether this process may change its identity, and be worth less to an attacker afterwards: it may set
/// any identity, or it is two users at once, as a set-user-ID program is, and a service of root's that has
/// put its privileges aside.
pub(super) fn may_change() -> bool {
    const CAP_SETGID: u64 = 1 << 6;
    const CAP_SETUID: u64 = 1 << 7;
    let Some([users, groups]) = ids() else {
        return true;
    };
    let differ = |ids: [u32; 3]| ids.iter().any(|id| *id != ids[0]);
    // A sandbox may refuse to tell. Then only root is taken to have capabilities.
    let told = raw::permitted_capabilities();
    let may_set = told.map_or(users[0] == 0, |capabilities| {
        capabilities & (CAP_SETUID | CAP_SETGID) != 0
    });
    may_set || differ(users) || differ(groups)
}

/// A number that is another one once the calling thread has followed a change of identity. `None` where it
/// cannot be told.
pub(super) fn fingerprint() -> Option<NonZeroU64> {
    let mut hasher = DefaultHasher::new();
    ids()?.hash(&mut hasher);
    let mut groups = [0; GROUPS];
    // SAFETY: the array has as many elements as are said. getgroups(2).
    let count = unsafe { libc::getgroups(GROUPS as i32, groups.as_mut_ptr()) };
    groups
        .get(..usize::try_from(count).ok()?)?
        .hash(&mut hasher);
    Some(NonZeroU64::new(hasher.finish()).unwrap_or(NonZeroU64::MIN))
}

/// The real, effective and saved ids, of the user and of the group. getresuid(2), getresgid(2).
fn ids() -> Option<[[u32; 3]; 2]> {
    let mut ids = [[0; 3]; 2];
    let [[a, b, c], [d, e, f]] = &mut ids;
    // SAFETY: each pointer is to a live number.
    let known = unsafe { libc::getresuid(a, b, c) == 0 && libc::getresgid(d, e, f) == 0 };
    known.then_some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_equal_to_itself() {
        assert_eq!(fingerprint(), fingerprint());
    }

    /// CapPrm in proc(5), `/proc/PID/status`.
    #[test]
    fn capabilities_are_those_that_the_kernel_lists() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let listed = status
            .lines()
            .find_map(|line| line.strip_prefix("CapPrm:\t"));
        let listed = u64::from_str_radix(listed.unwrap(), 16).unwrap();
        assert_eq!(raw::permitted_capabilities(), Some(listed));
    }
}
