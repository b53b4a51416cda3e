//! A child from its start to its end: [`spawn`], [`reaper`], [`communicate`], and its [`transfer`]
//! from one reactor to another.

pub(crate) mod communicate;
pub(crate) mod guard;
pub(crate) mod orphan;
pub(crate) mod reaper;
#[cfg(feature = "python")]
pub(crate) mod run;
pub(crate) mod seams;
pub(crate) mod spawn;
pub(crate) mod teardown;
pub(crate) mod transfer;
