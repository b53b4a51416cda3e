//! A change of this process's identity waits for the children that share its memory.
//!
//! # The race
//!
//! Until its exec, a child of the asynchronous strategy reads its arguments and the path of its program from
//! our memory, runs on it, and has the identity that we had when it was made. If this process gives up its
//! privileges in that time, code that takes it over afterwards may rewrite what the child reads, and has a
//! program of its choice executed as the old user.
//!
//! # The barrier
//!
//! For the kernel an identity is a thread's. The C library makes `setuid` and its family a matter of the
//! process: it sends each thread a signal, whose handler makes the same call, and returns once all have done so
//! (nptl(7)). So a thread that blocks this signal makes the caller wait. The thread that makes the child cannot be
//! that thread: it may be the one that calls `setuid`, and in a Python program the caller may hold
//! the lock that it needs to go on. A thread of its own has the signal blocked from before the clone until each child has
//! let go of our memory. The kernel tells it of that: it clears a word of ours and wakes who waits for it, where a vfork
//! would end (CLONE_CHILD_CLEARTID in clone(2)).
//!
//! # What may go wrong
//!
//! - The thread has just been made, and does not block the signal yet. Until it does, the thread that makes the child
//!   goes on blocking it, or until the exec, if that comes first: it never waits for longer than a vfork would.
//! - The thread may have followed a change, of which the thread that makes the child has not yet been told, before it
//!   blocked the signal. It tells who it is since then. If that is another than who makes the child, the latter
//!   waits for the exec.
//! - The thread follows a change only while no place is taken. What takes a place looks after that whether
//!   the barrier is still up; the thread lowers it before it looks at the places. One of them sees the other.
//! - While a change is under way the thread must not wait for anything that another thread could hold: musl's
//!   handler stops each thread where it is. So the thread, and what takes a place, use no lock and no
//!   memory of the heap while they block the signal.
//! - The thread does not end with the signal blocked: the C library waits for its answer.
//! - In a forked copy of the process the thread does not exist.
//!
//! Where there is no place, or the thread cannot be made, the child is made by a vfork, with all signals blocked.
//!
//! A thread that makes the system call setuid(2) by itself signals no other thread: nothing can have it wait.

use std::ffi::c_void;
use std::mem::{self, MaybeUninit};
use std::num::NonZeroU64;
use std::ptr;
use std::sync::LazyLock;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use super::credentials;
use super::raw::{self, Errno};
use crate::sync::modelled::{AtomicBool, AtomicU32, AtomicU64, fence};
use crate::sys::{current_pid, switches};

/// How many children may share our memory at once. A further one holds its parent until the exec.
const PLACES: usize = 64;

/// The signal by which the C library asks a thread to follow. glibc: `nptl/descr.h`; musl: `pthread_impl.h`.
const SIGSETXID: i32 = if cfg!(target_env = "musl") { 34 } else { 33 };

/// The set of all other signals.
const ALL_BUT_SETXID: raw::SigSet = !(1 << (SIGSETXID - 1));

/// How long the thread waits for the next start before it ends, if no place is taken. Programs fork, and enter
/// namespaces, which they cannot with a second thread.
const LINGER: Duration = Duration::from_millis(1);

/// The longest that a thread waits before it looks again.
const LONGEST: Duration = Duration::from_millis(64);

/// There is no thread.
const ABSENT: u32 = 0;
/// The thread was made, and does not block the signal yet.
const BEGINNING: u32 = 1;
/// A change of identity waits for the children that have places.
const UP: u32 = 2;
/// The thread follows a change once no place is taken, and then the barrier is up again.
const FOLLOWING: u32 = 3;
/// The thread ends, unless a place is taken.
const ENDING: u32 = 4;
/// The system does not let a thread wait for the signal.
const UNUSABLE: u32 = 5;

/// In a place: the thread has seen it since it blocks the signal.
const SEEN: u32 = 1 << 31;

/// The children that share our memory, and whether another may.
struct SharingChildren<const N: usize> {
    state: AtomicU32,
    /// The ticket of the child that has the place, and perhaps [`SEEN`]. The kernel clears it.
    taken: [AtomicU32; N],
    next_ticket: AtomicU32,
}

impl<const N: usize> SharingChildren<N> {
    fn new() -> Self {
        SharingChildren {
            state: AtomicU32::new(ABSENT),
            taken: std::array::from_fn(|_| AtomicU32::new(0)),
            next_ticket: AtomicU32::new(0),
        }
    }

    /// Takes a place, if there is a thread that will see it. Also gives the ticket, and whether the barrier was up.
    fn take(&self) -> Option<(&AtomicU32, u32, bool)> {
        let ticket = self.next_ticket.fetch_add(1, Relaxed) % (SEEN - 1) + 1;
        let take = |place: &&AtomicU32| place.compare_exchange(0, ticket, SeqCst, SeqCst).is_ok();
        let place = self.taken.iter().find(take)?;
        fence(SeqCst);
        match self.state.load(SeqCst) {
            UP => Some((place, ticket, true)),
            BEGINNING | FOLLOWING => Some((place, ticket, false)),
            _ => {
                place.store(0, SeqCst);
                None
            }
        }
    }

    /// Lets no further child take the barrier for up. Whether no place is taken.
    fn lower(&self, state: u32) -> bool {
        self.state.store(state, SeqCst);
        fence(SeqCst);
        self.are_free()
    }

    fn are_free(&self) -> bool {
        self.taken.iter().all(|place| place.load(SeqCst) == 0)
    }

    /// From here on a change waits for the children that have places, also for those who did not know that.
    fn go_up(&self, wake: impl Fn(&AtomicU32)) {
        self.state.store(UP, SeqCst);
        fence(SeqCst);
        for place in &self.taken {
            let ticket = place.load(SeqCst);
            // The kernel may clear it meanwhile.
            let seen = ticket | SEEN;
            if ticket != 0 && place.compare_exchange(ticket, seen, SeqCst, SeqCst).is_ok() {
                wake(place);
            }
        }
    }
}

/// The barrier of this process.
struct Barrier {
    places: SharingChildren<PLACES>,
    /// Who the thread is, 0 if that is not known. Does not change while the barrier is up.
    identity: AtomicU64,
    /// Whether a place was asked for since the thread last looked.
    asked_for: AtomicBool,
    /// The process that has the thread. Another number is that of the process which this one was forked from.
    owner: AtomicU32,
    /// The number of the thread that there is or was last, 0 before the first.
    thread: AtomicU32,
}

static BARRIER: LazyLock<Barrier> = LazyLock::new(|| Barrier {
    places: SharingChildren::new(),
    identity: AtomicU64::new(0),
    asked_for: AtomicBool::new(false),
    owner: AtomicU32::new(0),
    thread: AtomicU32::new(0),
});

/// Blocks all signals, and takes a place for a child that is about to be made. Without one, a change of identity
/// has to wait for the calling thread, and by that for the child. Gives the mask that was replaced, too.
pub(super) fn block_signals() -> (raw::SigSet, Option<Place>) {
    /// The thread may be about to end.
    const TRIES: usize = 3;
    if switches().setxid_barrier {
        for _ in 0..TRIES {
            BARRIER.raise();
            let caller = raw::set_signal_mask(&!0);
            if let Some(place) = BARRIER.take_place() {
                return (caller, Some(place));
            }
            raw::set_signal_mask(&caller);
        }
    }
    (raw::set_signal_mask(&!0), None)
}

/// Waits until the thread has ended, if all it does is to wait for the next start. The program is about to fork, and Python
/// counts the threads that the kernel has.
#[cfg(feature = "python")]
pub(crate) fn before_fork() {
    /// At most 20 ms in all: another start may keep the thread.
    const NAPS: u32 = 200;
    const NAP: Duration = Duration::from_micros(100);
    BARRIER.asked_for.store(false, SeqCst);
    for _ in 0..NAPS {
        if !BARRIER.lingers() {
            return;
        }
        std::thread::sleep(NAP);
    }
    // The number may be another thread's by now.
    if BARRIER.places.state.load(SeqCst) == ABSENT {
        BARRIER.thread.store(0, SeqCst);
    }
}

/// A place that a child is to have. Gives it up, if there is no child.
pub(super) struct Place {
    word: &'static AtomicU32,
    ticket: u32,
    was_up: bool,
    /// Who takes it, and makes the child.
    identity: NonZeroU64,
}

impl Place {
    /// The word that the kernel clears.
    pub(super) fn word(&self) -> *const u32 {
        word(self.word)
    }

    /// There is a child. Returns once a change of identity waits for it, or once it shares our memory no longer.
    pub(super) fn settle(self) {
        let same = || BARRIER.identity.load(SeqCst) == self.identity.get();
        let mut waits = !(self.was_up && same());
        while waits {
            let now = self.word.load(SeqCst);
            waits = now == self.ticket || (now == self.ticket | SEEN && !same());
            if waits {
                raw::wait_while(self.word(), now, LONGEST);
            }
        }
        mem::forget(self);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.word.store(0, SeqCst);
    }
}

fn word(place: &AtomicU32) -> *const u32 {
    (&raw const *place).cast()
}

/// Makes a thread that runs the barrier. Not std's: for that memory of the heap must be there, and for the thread-local
/// data that belongs to a loaded library, without which glibc ends the program. Neither is used by what runs in
/// the thread. pthread_create(3).
fn make_thread() -> bool {
    const STACK: usize = 256 * 1024;
    extern "C" fn run(_: *mut c_void) -> *mut c_void {
        raw::name_thread(c"procio-setxid");
        BARRIER.run();
        ptr::null_mut()
    }
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let attributes = attributes.as_mut_ptr();
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    // SAFETY: the attributes are initialised before they are used, and destroyed once; the function takes nothing, lives as
    // long as the program, and does not unwind.
    unsafe {
        if libc::pthread_attr_init(attributes) != 0 {
            return false;
        }
        let made = libc::pthread_attr_setdetachstate(attributes, libc::PTHREAD_CREATE_DETACHED)
            == 0
            && libc::pthread_attr_setstacksize(attributes, STACK) == 0
            && libc::pthread_create(thread.as_mut_ptr(), attributes, run, ptr::null_mut()) == 0;
        libc::pthread_attr_destroy(attributes);
        made
    }
}

impl Barrier {
    /// Has a thread raise the barrier, if it is down. With no signal blocked: the C library may hold
    /// what it needs to make a thread until the calling one has followed a change.
    fn raise(&'static self) {
        self.forget_what_was_before_a_fork();
        self.asked_for.store(true, SeqCst);
        let state = &self.places.state;
        let absent = state.compare_exchange(ABSENT, BEGINNING, SeqCst, SeqCst);
        if absent.is_ok() && !make_thread() {
            state.store(ABSENT, SeqCst);
        }
    }

    fn take_place(&'static self) -> Option<Place> {
        if self.owner.load(SeqCst) != current_pid() {
            return None;
        }
        let identity = credentials::fingerprint()?;
        let (word, ticket, was_up) = self.places.take()?;
        Some(Place {
            word,
            ticket,
            was_up,
            identity,
        })
    }

    /// Whether there is a thread, though no child has a place.
    #[cfg(feature = "python")]
    fn lingers(&self) -> bool {
        let is_there = || {
            let thread = self.thread.load(SeqCst).cast_signed();
            !matches!(self.places.state.load(SeqCst), ABSENT | UNUSABLE)
                || thread != 0 && raw::is_thread(thread)
        };
        self.owner.load(SeqCst) == current_pid() && self.places.are_free() && is_there()
    }

    /// What a copy of this process remembers is of the threads and children that the original has.
    fn forget_what_was_before_a_fork(&self) {
        /// No process has this number.
        const FORGETTING: u32 = u32::MAX;
        let (owner, pid) = (self.owner.load(SeqCst), current_pid());
        if owner == pid || owner == FORGETTING {
            return;
        }
        let mine = self
            .owner
            .compare_exchange(owner, FORGETTING, SeqCst, SeqCst);
        if mine.is_ok() {
            for place in &self.places.taken {
                place.store(0, SeqCst);
            }
            self.places.state.store(ABSENT, SeqCst);
            self.owner.store(pid, SeqCst);
        }
    }

    /// What the thread does.
    fn run(&self) {
        self.thread.store(raw::thread().cast_unsigned(), SeqCst);
        raw::set_signal_mask(&!0);
        let pending = self.look(Duration::ZERO);
        if pending == Ok(true) {
            raw::send_to_this_thread(SIGSETXID);
        }
        let mut end = UNUSABLE;
        if pending.is_ok() {
            self.go_up();
            while self.is_wanted() {}
            end = ABSENT;
        }
        self.places.state.store(end, SeqCst);
        raw::set_signal_mask(&ALL_BUT_SETXID);
    }

    fn go_up(&self) {
        let identity = credentials::fingerprint().map_or(0, NonZeroU64::get);
        self.identity.store(identity, SeqCst);
        self.places.go_up(|place| raw::wake_all(word(place)));
    }

    /// Waits for what comes next, and does it. Once it returns `false`, no child has a place.
    fn is_wanted(&self) -> bool {
        match self.wait() {
            Ok(true) => {
                raw::send_to_this_thread(SIGSETXID);
                self.let_children_go(FOLLOWING);
                raw::set_signal_mask(&ALL_BUT_SETXID);
                raw::set_signal_mask(&!0);
                self.go_up();
                true
            }
            Ok(false) if self.places.lower(ENDING) => false,
            Ok(false) => {
                self.go_up();
                true
            }
            Err(_) => {
                self.let_children_go(ENDING);
                false
            }
        }
    }

    /// Lowers the barrier, and waits for all children that share our memory.
    fn let_children_go(&self, state: u32) {
        while !self.places.lower(state) {
            for place in &self.places.taken {
                let now = place.load(SeqCst);
                if now != 0 {
                    // What gives up a place without a child wakes no thread.
                    raw::wait_while(word(place), now, LONGEST);
                }
            }
        }
    }

    /// Waits for a change of identity (`true`), or until no place has been taken, or asked for, for a while.
    fn wait(&self) -> Result<bool, Errno> {
        let mut patience = LINGER;
        loop {
            if self.look(patience)? {
                return Ok(true);
            }
            if self.asked_for.swap(false, SeqCst) {
                patience = LINGER;
            } else if self.places.are_free() {
                return Ok(false);
            } else {
                patience = LONGEST.min(patience * 2);
            }
        }
    }

    /// Whether a change of identity comes within that time. Its signal is taken.
    fn look(&self, time: Duration) -> Result<bool, Errno> {
        match raw::take_signal(raw::signal_bit(SIGSETXID), time) {
            Ok(()) => Ok(true),
            Err(Errno(libc::EAGAIN | libc::EINTR)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::sync::Arc;

    use loom::thread;

    use super::*;
    use crate::sync::modelled::check;

    /// The thread never follows a change while a child has a place that it took when the barrier was up.
    #[test]
    fn a_place_is_seen_or_not_had() {
        check(|| {
            let places = Arc::new(SharingChildren::<2>::new());
            places.state.store(UP, SeqCst);
            let followed = Arc::new(AtomicBool::new(false));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let (places, followed) = (places.clone(), followed.clone());
                    thread::spawn(move || {
                        if let Some((place, _, was_up)) = places.take() {
                            assert!(!(was_up && followed.load(SeqCst)));
                            place.store(0, SeqCst);
                        }
                    })
                })
                .collect();
            if places.lower(FOLLOWING) {
                followed.store(true, SeqCst);
            }
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }

    /// A child whose place was taken before the barrier was up is told once it is.
    #[test]
    fn who_takes_a_place_early_is_told() {
        check(|| {
            let places = Arc::new(SharingChildren::<2>::new());
            places.state.store(BEGINNING, SeqCst);
            let early = places.clone();
            let early = thread::spawn(move || {
                let (_, ticket, was_up) = early.take()?;
                (!was_up).then_some(ticket)
            });
            places.go_up(|_| {});
            if let Some(ticket) = early.join().unwrap() {
                let is_told = |place: &AtomicU32| place.load(SeqCst) == ticket | SEEN;
                assert!(places.taken.iter().any(is_told));
            }
        });
    }
}
