//! The reader against scripts instead of pipes.

use std::collections::VecDeque;

use super::*;

#[derive(Default)]
struct Script {
    reads: VecDeque<io::Result<Vec<u8>>>,
    enlarged: u32,
}

impl ReadIo for Script {
    fn try_read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match self.reads.pop_front() {
            Some(Ok(bytes)) => {
                buffer.extend_from_slice(&bytes);
                Ok(bytes.len())
            }
            Some(Err(error)) => Err(error),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn try_read_into<'a>(&mut self, _room: &'a mut [MaybeUninit<u8>]) -> io::Result<&'a [u8]> {
        panic!("these tests read into the buffer")
    }

    fn enlarge(&mut self, _bytes: usize) {
        self.enlarged += 1;
    }
}

fn reader(limit: usize, reads: &[&[u8]]) -> Reader<Script> {
    let reads = reads.iter().map(|bytes| Ok(bytes.to_vec())).collect();
    let mut reader = Reader::new(Script { reads, enlarged: 0 }, limit, DEFAULT_LIMIT);
    reader.mark_ready(false);
    reader
}

/// Reads until the want is met, or nothing comes.
fn run(reader: &mut Reader<Script>, want: &mut Want) -> Option<Found> {
    loop {
        if let Some(found) = reader.find(want) {
            return Some(found);
        }
        reader.mark_ready(false);
        if reader.fill() == Fill::Blocked {
            return None;
        }
    }
}

fn until(separators: &[&[u8]]) -> Want {
    let list = separators.iter().map(|s| s.to_vec()).collect();
    Want::Until(Separators::new(list).unwrap())
}

#[test]
fn a_line_over_several_reads() {
    let mut r = reader(100, &[b"ab", b"c\nde"]);
    assert_eq!(run(&mut r, &mut until(&[b"\n"])), Some(Found::Complete(4)));
    assert_eq!(r.buffered(), b"abc\nde");
}

#[test]
fn finding_takes_nothing_away() {
    let mut r = reader(100, &[b"abc\n"]);
    let _ = run(&mut r, &mut until(&[b"\n"]));
    assert_eq!(run(&mut r, &mut Want::Some(2)), Some(Found::Complete(2)));
    assert_eq!(r.buffered(), b"abc\n");
}

#[test]
fn a_separator_split_between_reads_is_found() {
    let mut r = reader(100, &[b"xxSEP", b"ARAT", b"ORyy"]);
    assert_eq!(
        run(&mut r, &mut until(&[b"SEPARATOR"])),
        Some(Found::Complete(11))
    );
}

#[test]
fn of_several_separators_the_one_that_ends_first_wins() {
    let mut r = reader(100, &[b"a--b\r\nc"]);
    assert_eq!(
        run(&mut r, &mut until(&[b"\r\n", b"-", b"zz"])),
        Some(Found::Complete(2))
    );
    let mut r = reader(100, &[b"abcd"]);
    assert_eq!(
        run(&mut r, &mut until(&[b"abcd", b"bc"])),
        Some(Found::Complete(3))
    );
}

#[test]
fn the_end_gives_what_is_left() {
    let mut r = reader(100, &[b"abc", b""]);
    assert_eq!(
        run(&mut r, &mut until(&[b"\n"])),
        Some(Found::Incomplete(3))
    );
    assert_eq!(
        run(&mut r, &mut Want::Exactly(5)),
        Some(Found::Incomplete(3))
    );
    assert!(r.has_ended() && !r.at_eof());
    r.consume(3);
    assert!(r.at_eof());
    assert_eq!(run(&mut r, &mut Want::Some(5)), Some(Found::Complete(0)));
}

#[test]
fn an_overrun_loses_nothing() {
    let mut r = reader(4, &[b"abcdefg", b"h\ni"]);
    let overrun = Some(Found::Overrun {
        consumed: 7,
        found: false,
    });
    assert_eq!(run(&mut r, &mut until(&[b"\n"])), overrun);
    r.mark_ready(false);
    r.fill();
    let overrun = Some(Found::Overrun {
        consumed: 8,
        found: true,
    });
    assert_eq!(run(&mut r, &mut until(&[b"\n"])), overrun);
    assert_eq!(r.buffered(), b"abcdefgh\ni");
}

#[test]
fn a_line_as_long_as_the_limit_is_a_line() {
    let mut r = reader(4, &[b"abcd\n"]);
    assert_eq!(run(&mut r, &mut until(&[b"\n"])), Some(Found::Complete(5)));
}

#[test]
fn an_error_comes_after_what_was_read_before_it() {
    let mut r = reader(100, &[b"abc"]);
    r.io.as_mut()
        .unwrap()
        .reads
        .push_back(Err(io::ErrorKind::Other.into()));
    assert_eq!(run(&mut r, &mut Want::Some(9)), Some(Found::Complete(3)));
    r.consume(3);
    assert_eq!(run(&mut r, &mut Want::Some(9)), Some(Found::Failed));
    assert!(r.error().is_some() && r.io().is_none());
}

#[test]
fn reading_ahead_pauses_above_twice_the_limit() {
    let chunk = vec![0; CHUNK];
    let mut r = reader(100, &[&chunk, &chunk, &chunk, &chunk]);
    let mut reads = 0;
    while r.wants_ahead() {
        r.fill();
        reads += 1;
    }
    assert_eq!(reads, 3);
    r.consume(2 * CHUNK);
    assert!(r.wants_ahead());
}

#[test]
fn a_short_read_waits_for_the_next_event_unless_the_writer_is_gone() {
    let mut r = reader(100, &[b"a", b"b"]);
    r.fill();
    assert!(!r.is_ready());
    r.mark_ready(true);
    r.fill();
    assert!(r.is_ready());
}

#[test]
fn what_may_come_in_pieces_is_read_until_nothing_is_there() {
    let mut r = reader(100, &[b"a", b"b"]);
    r.mark_foreign();
    for _ in 0..2 {
        assert!(r.is_ready());
        assert!(matches!(r.fill(), Fill::Progress(1)));
    }
}

#[test]
fn a_pipe_that_is_often_full_is_enlarged_once() {
    let chunk = vec![0; CHUNK];
    let reads: Vec<&[u8]> = vec![&chunk; 9];
    let mut r = reader(100, &reads);
    (0..9).for_each(|_| {
        r.fill();
    });
    assert_eq!(r.io().unwrap().enlarged, 1);
}

#[test]
fn unread_bytes_are_read_again() {
    let mut r = reader(100, &[b"abcdef"]);
    let mut sink = Vec::new();
    r.fill();
    r.drain_into(&mut sink, 4).unwrap();
    assert_eq!(sink, b"abcd");
    r.unread(&[&sink]);
    assert_eq!(r.buffered(), b"abcdef");
}
