//! Tells the crate which Python it is built for, which `src/py/c_api.rs` has to know on Windows, and
//! whether a sanitizer is built in, with which `src/sys/linux/clone.rs` must not share memory. Declares the
//! switch of `src/sys/libkqueue`, which only RUSTFLAGS sets.

/// Systems that do not let a program start others.
const WITHOUT_PROCESSES: [&str; 5] = ["emscripten", "ios", "tvos", "wasi", "watchos"];

fn main() {
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if WITHOUT_PROCESSES.contains(&&*system) {
        println!("cargo::error=procio starts processes, which programs for {system} cannot");
    }
    println!("cargo:rustc-check-cfg=cfg(procio_instrumented, procio_kqueue, fuzzing, loom)");
    if std::env::var_os("CARGO_CFG_SANITIZE").is_some() {
        println!("cargo:rustc-cfg=procio_instrumented");
    }
    #[cfg(feature = "python")]
    {
        let implementation = pyo3_build_config::get().implementation();
        if implementation != pyo3_build_config::PythonImplementation::CPython {
            println!(
                "cargo::error=procio is for CPython: its extension cannot be built for {implementation}"
            );
        }
        pyo3_build_config::use_pyo3_cfgs();
    }
}
