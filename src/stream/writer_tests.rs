//! The writer against a pipe that holds as much as a test says.

use super::*;

#[derive(Default)]
struct Tank {
    room: usize,
    written: Vec<u8>,
    broken: bool,
    wanted: u32,
    enlarged: u32,
}

impl WriteIo for Tank {
    fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.broken {
            return Err(io::Error::from_raw_os_error(32));
        }
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        let count = self.room.min(bytes.len());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.room -= count;
        self.written.extend(&bytes[..count]);
        Ok(count)
    }

    fn want_write(&mut self) -> io::Result<()> {
        self.wanted += 1;
        Ok(())
    }

    fn enlarge(&mut self, _bytes: usize) {
        self.enlarged += 1;
    }
}

fn writer(room: usize) -> Writer<Tank> {
    Writer::new(Tank {
        room,
        ..Tank::default()
    })
}

fn write(writer: &mut Writer<Tank>, bytes: &[u8]) {
    let written = writer.write_now(bytes);
    writer.queue(Box::new(bytes.to_vec()), written);
}

fn tank(writer: &mut Writer<Tank>) -> &mut Tank {
    writer.io.as_mut().unwrap()
}

#[test]
fn what_fits_is_written_at_once() {
    let mut w = writer(100);
    write(&mut w, b"hello");
    assert_eq!(
        (w.queued(), tank(&mut w).written.as_slice()),
        (0, &b"hello"[..])
    );
}

#[test]
fn the_rest_is_queued_and_written_in_order() {
    let mut w = writer(3);
    write(&mut w, b"hello");
    write(&mut w, b" world");
    assert_eq!(w.queued(), 8);
    assert_eq!(w.flush(|_| true), Flush::Blocked);
    for _ in 0..8 {
        tank(&mut w).room = 1;
        let _ = w.flush(|_| true);
    }
    assert_eq!(
        (w.queued(), tank(&mut w).written.as_slice()),
        (0, &b"hello world"[..])
    );
}

#[test]
fn flow_control_follows_the_marks() {
    let mut w = writer(0);
    w.set_limits(2, 4);
    write(&mut w, b"abcd");
    assert!(!w.is_paused());
    write(&mut w, b"e");
    assert!(w.is_paused());
    tank(&mut w).room = 2;
    let _ = w.flush(|_| true);
    assert!(w.is_paused());
    tank(&mut w).room = 1;
    let _ = w.flush(|_| true);
    assert!(!w.is_paused());
}

#[test]
fn close_writes_what_is_queued_first() {
    let mut w = writer(0);
    write(&mut w, b"abc");
    w.close();
    assert!(w.is_closing() && w.closed().is_none());
    write(&mut w, b"ignored");
    tank(&mut w).room = 9;
    assert_eq!(w.flush(|_| true), Flush::Done);
    assert_eq!(w.closed(), Some(Closed::Clean));
    assert!(w.io().is_none());
}

#[test]
fn a_broken_pipe_ends_writing_with_its_error() {
    let mut w = writer(0);
    write(&mut w, b"abc");
    tank(&mut w).broken = true;
    assert_eq!(w.flush(|_| true), Flush::Done);
    assert_eq!(
        w.closed().unwrap().error().unwrap().raw_os_error(),
        Some(32)
    );
    assert_eq!(w.queued(), 0);
}

#[test]
fn a_failure_is_told_once_and_can_be_looked_at_before() {
    let mut w = writer(5);
    write(&mut w, b"0123456789");
    w.abort();
    assert!(w.untold_failure().is_none() && w.take_failure().is_ok());

    for (kind, is_told) in [
        (io::ErrorKind::OutOfMemory, true),
        (io::ErrorKind::BrokenPipe, false),
    ] {
        let mut w = writer(5);
        w.end(Closed::failed(&kind.into()));
        for _ in 0..2 {
            assert_eq!(
                w.untold_failure().map(|error| error.kind()),
                is_told.then_some(kind)
            );
        }
        assert_eq!(w.take_failure().is_err(), is_told);
        assert!(w.untold_failure().is_none() && w.take_failure().is_ok());
    }
}

#[test]
fn a_hangup_is_an_error_only_if_bytes_are_lost() {
    let mut w = writer(0);
    w.hangup();
    assert_eq!(w.closed(), Some(Closed::Clean));
    let mut w = writer(0);
    write(&mut w, b"abc");
    w.hangup();
    assert_eq!(
        w.closed().unwrap().error().unwrap().kind(),
        io::ErrorKind::BrokenPipe
    );
}

#[test]
fn a_spent_budget_stops_the_flush() {
    let mut w = writer(0);
    (0..200).for_each(|_| write(&mut w, b"x"));
    tank(&mut w).room = 1000;
    assert_eq!(w.flush(|_| false), Flush::Spent);
    assert_eq!(w.queued(), 200 - PIECES);
}

#[test]
fn a_pipe_that_is_often_full_is_enlarged_once() {
    let mut w = writer(0);
    w.queue(Box::new(vec![0; 100]), 0);
    for _ in 0..9 {
        tank(&mut w).room = 1;
        let _ = w.flush(|_| true);
    }
    assert_eq!(tank(&mut w).enlarged, 1);
    assert_eq!(tank(&mut w).wanted, 9);
}
