//! The reader against scripts instead of pipes.

use std::collections::VecDeque;
use std::mem::MaybeUninit;

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
        if reader.fill().unwrap() == Fill::Blocked {
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
    r.fill().unwrap();
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
        r.fill().unwrap();
        reads += 1;
    }
    assert_eq!(reads, 3);
    r.consume(2 * CHUNK);
    assert!(r.wants_ahead());
}

#[test]
fn a_short_read_waits_for_the_next_event_unless_the_writer_is_gone() {
    let mut r = reader(100, &[b"a", b"b"]);
    r.fill().unwrap();
    assert!(!r.is_ready());
    r.mark_ready(true);
    r.fill().unwrap();
    assert!(r.is_ready());
}

#[test]
fn what_may_come_in_pieces_is_read_until_nothing_is_there() {
    let mut r = reader(100, &[b"a", b"b"]);
    r.mark_foreign(true);
    for _ in 0..2 {
        assert!(r.is_ready());
        assert!(matches!(r.fill().unwrap(), Fill::Progress(1)));
    }
}

#[test]
fn a_pipe_that_is_often_full_is_enlarged_once() {
    let chunk = vec![0; CHUNK];
    let reads: Vec<&[u8]> = vec![&chunk; 9];
    let mut r = reader(100, &reads);
    (0..9).for_each(|_| {
        r.fill().unwrap();
    });
    assert_eq!(r.io().unwrap().enlarged, 1);
}

#[test]
fn unread_bytes_are_read_again() {
    let mut r = reader(100, &[b"abcdef"]);
    let mut sink = Vec::new();
    r.fill().unwrap();
    r.drain_into(&mut sink, 4).unwrap();
    assert_eq!(sink, b"abcd");
    r.park(Box::new(sink));
    assert_eq!(r.buffered(), b"abcdef");
}

/// A piece as an operation collects it, which says where its bytes lie.
fn piece(bytes: &[u8]) -> Box<dyn Sink> {
    Box::new(bytes.to_vec())
}

/// Takes everything, by reads of at most `most` bytes.
fn take_all(reader: &mut Reader<Script>, most: usize) -> Vec<u8> {
    let mut taken = Vec::new();
    while reader.len() > 0 {
        while reader.buffered().is_empty() {
            reader.fill().unwrap();
        }
        let Some(Found::Complete(count)) = reader.find(&mut Want::Some(most)) else {
            panic!("there are bytes, and they are not found");
        };
        taken.extend_from_slice(&reader.buffered()[..count]);
        reader.consume(count);
    }
    taken
}

#[test]
fn what_is_given_up_comes_back_in_its_order() {
    let large: Vec<u8> = (0..3 * CHUNK).map(|i| (i % 251) as u8).collect();
    for (first, second, third) in [(2, 3, 4), (2, 3 * CHUNK, 4), (3 * CHUNK, 2, 3 * CHUNK)] {
        for most in [7, CHUNK, usize::MAX] {
            let mut r = reader(100, &[]);
            r.feed(&large[..third]).unwrap();
            r.park(piece(&large[..second]));
            r.park(piece(&large[..first]));
            r.feed(b"last").unwrap();
            let expected = [&large[..first], &large[..second], &large[..third], b"last"].concat();
            assert_eq!(r.len(), expected.len());
            assert!(take_all(&mut r, most) == expected);
        }
    }
}

#[test]
fn giving_up_copies_nothing_and_the_next_collects_on() {
    let mut r = reader(100, &[]);
    let collected = vec![b'x'; 10 * CHUNK];
    let place = collected.as_ptr();
    r.park(Box::new(collected));
    assert!(r.buffered().is_empty() && r.has_parked());
    assert!(r.resume::<Vec<u8>>(10 * CHUNK - 1).is_none());
    let resumed: Vec<u8> = r.resume(10 * CHUNK).unwrap();
    assert_eq!((resumed.as_ptr(), resumed.len()), (place, 10 * CHUNK));
    assert_eq!(r.len(), 0);
}

#[test]
fn what_was_given_up_is_handed_out_in_steps() {
    let mut r = reader(100, &[]);
    r.park(piece(&vec![b'x'; 10 * CHUNK]));
    r.feed_eof();
    assert_eq!(r.find(&mut Want::Some(usize::MAX)), None);
    assert_eq!(r.fill().unwrap(), Fill::Progress(CHUNK));
    assert!(!r.at_eof() && !r.is_last());
    let mut sink = Vec::new();
    r.drain_into(&mut sink, usize::MAX).unwrap();
    let filled = r.fill_sink(&mut sink, usize::MAX).unwrap();
    assert_eq!(filled, Fill::Progress(BIG_CHUNK));
    assert_eq!((sink.len(), r.len()), (CHUNK + BIG_CHUNK, 5 * CHUNK));
}

#[test]
fn a_line_over_what_was_given_up_and_what_came_after() {
    let mut r = reader(1 << 30, &[b"z\nrest"]);
    r.park(piece(&vec![b'x'; 2 * CHUNK]));
    r.feed(b"y").unwrap();
    let found = run(&mut r, &mut until(&[b"\n"]));
    assert_eq!(found, Some(Found::Complete(2 * CHUNK + 3)));
}

#[test]
fn what_is_given_up_counts_as_read_ahead() {
    let mut r = reader(100, &[b"more"]);
    r.park(piece(b"little"));
    assert!(r.wants_ahead());
    r.park(piece(&vec![b'x'; 4 * CHUNK]));
    assert!(!r.wants_ahead());
}
