//! Tells the crate which Python it is built for, which `src/py/bytes_sink.rs` has to know on Windows, and
//! whether a sanitizer is built in, with which `src/sys/linux/clone.rs` must not share memory.

fn main() {
    println!("cargo:rustc-check-cfg=cfg(procio_instrumented)");
    if std::env::var_os("CARGO_CFG_SANITIZE").is_some() {
        println!("cargo:rustc-cfg=procio_instrumented");
    }
    #[cfg(feature = "python")]
    pyo3_build_config::use_pyo3_cfgs();
}
