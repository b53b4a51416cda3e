//! Everything that knows an operating system, and nearly all `unsafe` of the crate.
//!
//! # The contract
//!
//! A platform is a module that supplies the items below with these meanings; the rest of the crate
//! is written against them and names no system.
//!
//! | item | meaning |
//! | --- | --- |
//! | [`Poller`] | one pollable descriptor in which readiness is collected, edge-triggered: an event says that something changed, and is not repeated until it changes again |
//! | [`Event`] | which token, and what it became: readable, writable, hung up |
//! | [`Notifier`] | wakes a `Poller` from any thread with a token |
//! | [`PipeReader`], [`PipeWriter`] | the parent's ends of pipes, never blocking: `WouldBlock` promises an event |
//! | [`never_blocks`] | whether a `Poller` refused a descriptor because it is always ready |
//! | [`duplicate`] | an end of somebody else's pipe as one of our own |
//! | [`pipe_from_child`], [`pipe_to_child`] | a pipe whose one end is ours and whose other end the child gets |
//! | [`Plan`] | a validated command in the form in which the child half can use it without allocating |
//! | [`Spawner::spawn`] | starts a plan and returns at once: the [`Process`], and the [`Outcome`] of its exec, which comes later |
//! | [`Hook`] | code of the caller's that runs in the child; where there is no fork, a type without values |
//! | [`Process`] | one child that has not been reaped: watch, reap once, signal. After `try_wait` returned an exit the caller may not signal; the caller's lock orders the two |
//! | [`Group`] | the process group of a leader that was reaped, if it can still be signalled safely |
//!
//! Every descriptor that a platform creates is close-on-exec and above 2.

#![allow(unsafe_code)]

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::*;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;

#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly"
))]
mod bsd;
