//! A child whose end the system refuses to tell.

use super::*;

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn an_error_of_the_wait_is_told_and_the_next_wait_tries_again() {
    // EPERM, EINTR, EIO, EAGAIN, ENOMEM, EACCES, EFAULT, EINVAL, ENOSYS.
    for errno in [1, 4, 5, 11, 12, 13, 14, 22, 38] {
        let scene = Scene::new(FakeProcess::default());
        let guard = scene.watch(false);
        let mut waiters = [Waiter::default(), Waiter::default()];
        for waiter in &mut waiters {
            assert!(waiter.poll(&guard).is_pending());
        }
        // Each who waits tries once more.
        scene.script.system().refused = [errno; 3].into();
        scene.script.end();
        scene.notify();
        for waiter in &mut waiters {
            assert_eq!(waiter.woken(), 1, "{errno}");
            let Poll::Ready(Err(error)) = waiter.poll(&guard) else {
                panic!("{errno} is not told");
            };
            assert_eq!(error.raw_os_error(), Some(errno));
        }
        assert!(guard.exit().is_none());
        // No event comes any more.
        let polled = Waiter::default().poll(&guard);
        assert!(matches!(polled, Poll::Ready(Ok(_))), "{errno}");
        assert_eq!(scene.script.count(Call::Reaped), 1);
        assert!(scene.is_empty());
    }
}

#[test]
fn an_error_of_the_wait_that_has_passed_is_not_told() {
    let scene = Scene::new(FakeProcess::default());
    let guard = scene.watch(false);
    scene.script.system().refused = [12].into();
    scene.notify();
    let mut waiter = Waiter::default();
    assert!(waiter.poll(&guard).is_pending());
    scene.script.end();
    scene.notify();
    assert_eq!(waiter.woken(), 1);
    assert!(matches!(waiter.poll(&guard), Poll::Ready(Ok(_))));
}

#[test]
fn one_whose_wait_fails_can_still_be_killed() {
    let scene = Scene::new(FakeProcess::that_dies());
    let guard = scene.watch(false);
    scene.script.system().refused = [1].into();
    scene.notify();
    guard.kill().unwrap();
    scene.notify();
    assert_eq!(scene.script.count(Call::Reaped), 1);
}

/// The thread that was left with it is there.
fn left_to_a_thread(script: &FakeProcess) -> mpsc::Receiver<()> {
    let (sender, done) = mpsc::channel();
    script.system().done = Some(sender);
    done
}

#[test]
fn one_that_was_dropped_before_the_wait_failed_is_left_to_a_thread() {
    for kill_on_drop in [true, false] {
        let scene = Scene::new(FakeProcess::that_dies());
        let done = left_to_a_thread(&scene.script);
        let guard = scene.watch(kill_on_drop);
        scene.script.system().refused = [1].into();
        drop(guard);
        scene.notify();
        done.recv_timeout(DEADLINE).unwrap();
        assert_eq!(
            scene.script.count(Call::Signal(KILL)),
            usize::from(kill_on_drop)
        );
        assert!(scene.is_empty());
    }
}

#[test]
fn one_that_is_dropped_after_the_wait_has_failed_is_left_to_a_thread() {
    let scene = Scene::new(FakeProcess::default());
    let done = left_to_a_thread(&scene.script);
    let guard = scene.watch(true);
    scene.script.end();
    scene.script.system().refused = [1].into();
    scene.notify();
    assert_eq!(scene.script.calls(), []);
    drop(guard);
    done.recv_timeout(DEADLINE).unwrap();
    let expected = [Call::Signal(KILL), Call::Unwatched, Call::Blocked];
    assert_eq!(scene.script.calls(), expected);
    assert!(scene.is_empty());
}

#[test]
fn a_pinned_one_whose_wait_fails_is_left_to_a_thread() {
    let scene = Scene::new(FakeProcess::that_dies());
    let done = left_to_a_thread(&scene.script);
    let guard = scene.watch_owned();
    scene.script.end();
    scene.notify();
    assert!(guard.exit().is_some());
    scene.script.system().refused = [1].into();
    drop(guard);
    done.recv_timeout(DEADLINE).unwrap();
    assert_eq!(scene.script.count(Call::SignalGroup(KILL)), 1);
    assert!(scene.is_empty());
}

#[test]
fn one_without_a_reactor_whose_wait_fails_is_left_to_a_thread() {
    let Scene { reactor, script } = Scene::new(FakeProcess::that_dies());
    let done = left_to_a_thread(&script);
    script.system().refused = [1].into();
    let inner = reactor.inner().clone();
    drop(reactor);
    assert!(ChildGuard::watch(&inner, script.clone(), false, false, false).is_err());
    done.recv_timeout(DEADLINE).unwrap();
    assert_eq!(script.calls(), [Call::Signal(KILL), Call::Blocked]);
}
