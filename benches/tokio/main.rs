//! The feature `tokio` against `tokio::process`, pair by pair; the last columns are the ratios.
//!
//! `cargo bench --features tokio --bench tokio -- [--json FILE] [PART OF A NAME]...`
//!
//! A round runs ours, theirs and, where there is one, the limit: the standard library with blocking
//! calls, which makes the system calls that a C program would. Every other round the order is
//! reversed. A ratio is formed within a round; what is shown is the median.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs
)]

mod limit;
mod ours;
mod record;
mod shared;
mod theirs;

use std::rc::Rc;
use std::time::{Duration, Instant};

use procio::tokio::Driver;
use record::{Record, Row};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::runtime::{Builder, Runtime};

const MIB: usize = 1024 * 1024;

const ONE_THREAD: &str = "one thread";

fn main() {
    let (names, json) = arguments();
    let one = Builder::new_current_thread().enable_all().build().unwrap();
    let two = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let record = Rc::new(Record::begin());
    let benches = [(ONE_THREAD, one), ("two workers", two)].map(|(runtime_name, runtime)| Bench {
        names: names.clone(),
        record: record.clone(),
        runtime_name,
        runtime,
    });
    memory(&benches[0]); // before anything else has left memory to be used again
    benches.iter().for_each(children);
    benches.iter().for_each(streams);
    if benches.iter().any(|bench| bench.wants(LARGE)) {
        // Touched, so that a fork has page tables to copy.
        let heap = std::hint::black_box(vec![1u8; 1536 * MIB]);
        benches.iter().for_each(large);
        drop(heap);
    }
    if let Some(path) = json {
        record.save(&path);
    }
}

/// The parts of names, and the file; `cargo bench` adds `--bench`.
fn arguments() -> (Vec<String>, Option<String>) {
    let mut arguments = std::env::args().skip(1);
    let (mut names, mut json) = (Vec::new(), None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => json = Some(arguments.next().expect("--json needs a file")),
            "--bench" => {}
            _ => names.push(argument),
        }
    }
    (names, json)
}

fn children(bench: &Bench) {
    let none = None::<fn()>;
    let limit = Some(limit::start);
    bench.compare("start and wait", 400, ours::start, theirs::start, limit);
    let what = "the same in a session of its own";
    bench.compare(what, 200, ours::session, theirs::session, none);
    let limit = Some(limit::output);
    bench.compare("output", 400, ours::output, theirs::output, limit);
    let what = "1,000 children at once";
    bench.compare(what, 12, ours::many, theirs::many, none);
    let what = "1,000 children, 64 at a time";
    bench.compare(what, 12, ours::crowd, theirs::crowd, none);
}

fn streams(bench: &Bench) {
    let none = None::<fn()>;
    let limit = Some(limit::bulk);
    bench.compare("read 512 MiB", 8, ours::bulk, theirs::bulk, limit);
    let limit = Some(|| limit::collect(256));
    let (ours, theirs) = (ours::collect_256, theirs::collect_256);
    bench.compare("collect 256 MiB", 8, ours, theirs, limit);
    let limit = Some(|| limit::collect(512));
    let (ours, theirs) = (ours::collect_512, theirs::collect_512);
    bench.compare("collect 512 MiB", 6, ours, theirs, limit);
    let what = "cat both ways, 64 MiB, join";
    bench.compare(what, 10, ours::both_ways, theirs::both_ways, none);
    let what = "cat both ways, 64 MiB, communicate";
    bench.compare(what, 10, ours::communicate, theirs::both_ways, none);
    let limit = Some(limit::lines);
    bench.compare("lines", 10, ours::lines, theirs::lines, limit);
    let limit = Some(limit::read_line);
    bench.compare("read_line", 10, ours::read_line, theirs::read_line, limit);
    let limit = Some(limit::ping_pong);
    bench.compare("ping-pong", 60, ours::ping_pong, theirs::ping_pong, limit);
    if bench.runtime_name == ONE_THREAD {
        // Where the kernel may choose, the choice decides: turns on one processor take a fifth of those on two.
        on_one_processor(|| {
            let what = "ping-pong on one processor";
            bench.compare(what, 60, ours::ping_pong, theirs::ping_pong, limit);
        });
    }
    let what = "64 cats, a byte there and back";
    bench.compare(what, 30, ours::cats, theirs::cats, none);
}

/// With this thread, and the children that it starts meanwhile, bound to one processor.
fn on_one_processor(run: impl FnOnce()) {
    let allowed = sched_getaffinity(None).unwrap();
    let mut one = CpuSet::new();
    let first = (0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu));
    one.set(first.unwrap());
    sched_setaffinity(None, &one).unwrap();
    run();
    sched_setaffinity(None, &allowed).unwrap();
}

const LARGE: &str = "1.5 GiB heap";

fn large(bench: &Bench) {
    let none = None::<fn()>;
    let what = "start and wait, 1.5 GiB heap";
    bench.compare(what, 100, ours::start, theirs::start, none);
    let what = "in a session of its own, 1.5 GiB heap";
    bench.compare(what, 20, ours::session, theirs::session, none);
}

/// What an idle child with two pipes adds to the resident memory.
fn memory(bench: &Bench) {
    const CHILDREN: usize = 500;
    let what = "resident for an idle child";
    if !bench.wants(what) {
        return;
    }
    let (driver, runtime) = (bench.driver(), &bench.runtime);
    let grown = |start: &dyn Fn() -> Box<dyn std::any::Any>| {
        drop(start()); // what is kept for the next one
        let before = resident();
        let kept: Vec<_> = (0..CHILDREN).map(|_| start()).collect();
        (resident().saturating_sub(before) / CHILDREN, kept)
    };
    // Those of ours stay: what they gave back would be used again.
    let (ours, kept) = grown(&|| Box::new(runtime.block_on(ours::idle(&driver))));
    let (theirs, _) = grown(&|| Box::new(runtime.block_on(async { theirs::idle() })));
    drop(kept);
    bench.record.add(Row {
        runtime: bench.runtime_name,
        what: what.to_owned(),
        unit: "B",
        rounds: 1,
        procio: ours as f64,
        tokio: theirs as f64,
        ratio: ours as f64 / theirs as f64,
        to_limit: None,
    });
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0usize) * rustix::param::page_size()
}

struct Bench {
    names: Vec<String>,
    record: Rc<Record>,
    runtime_name: &'static str,
    runtime: Runtime,
}

impl Bench {
    fn wants(&self, what: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| what.contains(name.as_str()))
    }

    fn driver(&self) -> Driver {
        self.runtime.block_on(async { Driver::new().unwrap() })
    }

    fn compare<A, B, L: Fn()>(
        &self,
        what: &str,
        rounds: usize,
        ours: impl Fn(Driver) -> A,
        theirs: impl Fn() -> B,
        limit: Option<L>,
    ) where
        A: Future<Output = ()> + Send + 'static,
        B: Future<Output = ()> + Send + 'static,
    {
        if !self.wants(what) {
            return;
        }
        let driver = self.driver();
        let us = || self.time(ours(driver.clone()));
        let them = || self.time(theirs());
        let bound = || {
            let begin = Instant::now();
            if let Some(limit) = &limit {
                limit();
            }
            begin.elapsed()
        };
        let mut times = Vec::new();
        for round in 0..=rounds {
            let (a, b, c);
            if round % 2 == 0 {
                (a, b, c) = (us(), them(), bound());
            } else {
                let (last, middle, first) = (bound(), them(), us());
                (a, b, c) = (first, middle, last);
            }
            if round > 0 {
                times.push([a, b, c].map(|time| time.as_secs_f64()));
            }
        }
        let seconds = |which: usize| median(times.iter().map(|round| round[which]));
        let ratio = |to: usize| median(times.iter().map(|round| round[0] / round[to]));
        self.record.add(Row {
            runtime: self.runtime_name,
            what: what.to_owned(),
            unit: "s",
            rounds,
            procio: seconds(0),
            tokio: seconds(1),
            ratio: ratio(1),
            to_limit: limit.as_ref().map(|_| ratio(2)),
        });
    }

    fn time(&self, future: impl Future<Output = ()> + Send + 'static) -> Duration {
        let begin = Instant::now();
        self.runtime.block_on(self.runtime.spawn(future)).unwrap();
        begin.elapsed()
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
