//! What was measured: a table for a reader, and a file for `tools/figures.py`.

use std::cell::RefCell;
use std::fmt::Write;
use std::fs::read_to_string;
use std::process::Command;
use std::time::Duration;

/// One comparison: the medians of its rounds, in seconds or in bytes.
pub struct Row {
    pub runtime: &'static str,
    pub what: String,
    pub unit: &'static str,
    pub rounds: usize,
    pub procio: f64,
    pub tokio: f64,
    pub ratio: f64,
    pub to_limit: Option<f64>,
}

impl Row {
    fn show(&self) {
        let figure = |value: f64| match self.unit {
            "s" => format!("{:.3?}", Duration::from_secs_f64(value)),
            unit => format!("{value:.0} {unit}"),
        };
        let (runtime, what, ratio) = (self.runtime, &self.what, self.ratio);
        let (procio, tokio) = (figure(self.procio), figure(self.tokio));
        let to_limit = self.to_limit.map(|ratio| format!("{ratio:.2}"));
        let to_limit = to_limit.unwrap_or_default();
        println!("| {runtime} | {what} | {procio} | {tokio} | {ratio:.2} | {to_limit} |");
    }

    /// No text has a character that JSON would write in another way than Rust.
    fn json(&self) -> String {
        let (runtime, what, unit, rounds) = (self.runtime, &self.what, self.unit, self.rounds);
        let (procio, tokio, ratio) = (self.procio, self.tokio, self.ratio);
        let to_limit = self.to_limit.map(|ratio| ratio.to_string());
        let to_limit = to_limit.as_deref().unwrap_or("null");
        format!(
            "  {{\"runtime\": {runtime:?}, \"what\": {what:?}, \"unit\": {unit:?}, \"rounds\": {rounds}, \
             \"procio\": {procio}, \"tokio\": {tokio}, \"ratio\": {ratio}, \"to_limit\": {to_limit}}}"
        )
    }
}

pub struct Record {
    about: [(&'static str, String); 6],
    rows: RefCell<Vec<Row>>,
}

impl Record {
    /// The load is that of the start.
    pub fn begin() -> Self {
        println!("| runtime | what | procio | tokio::process | ratio | to the limit |");
        println!("| --- | --- | --- | --- | --- | --- |");
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        Self {
            about: [
                ("system", system()),
                ("cpus", cpus.to_string()),
                ("load", words("/proc/loadavg", ' ', 3).join(" ")),
                ("rustc", rustc()),
                ("tokio", tokio()),
                ("procio", env!("CARGO_PKG_VERSION").to_owned()),
            ],
            rows: RefCell::default(),
        }
    }

    pub fn add(&self, row: Row) {
        row.show();
        self.rows.borrow_mut().push(row);
    }

    pub fn save(&self, path: &str) {
        let mut text = "{\n \"about\": {\n".to_owned();
        let about = self.about.iter();
        let about: Vec<String> = about
            .map(|(name, fact)| format!("  {name:?}: {fact:?}"))
            .collect();
        let rows: Vec<String> = self.rows.borrow().iter().map(Row::json).collect();
        let (about, rows) = (about.join(",\n"), rows.join(",\n"));
        write!(text, "{about}\n }},\n \"rows\": [\n{rows}\n ]\n}}\n").unwrap();
        std::fs::write(path, text).unwrap();
    }
}

fn words(path: &str, separator: char, count: usize) -> Vec<String> {
    let text = read_to_string(path).unwrap_or_default();
    let words = text.trim().split(separator).take(count);
    words.map(str::to_owned).collect()
}

/// `Linux 6.18 x86_64`: without what a distribution adds to the number.
fn system() -> String {
    let name = words("/proc/sys/kernel/ostype", ' ', 1).join("");
    let release = words("/proc/sys/kernel/osrelease", '.', 2).join(".");
    format!("{name} {release} {}", std::env::consts::ARCH)
}

fn rustc() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let text = output.map_or_else(|_| Vec::new(), |output| output.stdout);
    let text = String::from_utf8_lossy(&text);
    text.split(' ').nth(1).unwrap_or("unknown").to_owned()
}

fn tokio() -> String {
    let lock = include_str!("../../Cargo.lock");
    let (_, entry) = lock.split_once("name = \"tokio\"\nversion = \"").unwrap();
    entry.split('"').next().unwrap_or_default().to_owned()
}
