//! Tells the crate which Python it is built for, which `src/py/bytes_sink.rs` has to know on Windows.

fn main() {
    #[cfg(feature = "python")]
    pyo3_build_config::use_pyo3_cfgs();
}
