#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| procio::fuzzing::command_line(input));
