//! What `fuzz/` has run with any bytes, and the tests with bytes of a seed: each takes its input for a
//! program, does what that says, and panics where the result is not that of a naive implementation.

mod command_line;
mod decisions;
mod reader;

pub use command_line::command_line;
pub use reader::reader;

#[cfg(test)]
mod tests {
    /// Inputs that look random and are the same in each run. xorshift64.
    fn inputs(count: usize) -> impl Iterator<Item = Vec<u8>> {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        std::iter::repeat_with(move || {
            let length = next() % 300;
            (0..length).map(|_| (next() >> 32) as u8).collect()
        })
        .take(count)
    }

    #[test]
    fn the_reader_is_as_a_naive_one() {
        inputs(2_000).for_each(|input| super::reader(&input));
    }

    #[test]
    fn command_lines_are_taken_apart_into_what_they_were_made_of() {
        inputs(3_000).for_each(|input| super::command_line(&input));
    }
}
