"""Random sequences of operations on children and their streams.

A plan is made without looking at an implementation: `Model` knows only what makes a step possible at all,
such as that a stopped child answers no command. What a step gives is for the two implementations to say.
"""

from __future__ import annotations

import random
import signal
from dataclasses import dataclass, field
from typing import Any

# Pipes take 64 KiB. Whatever a child says within a plan fits, so that it never waits for its reader.
ROOM = 40_000
# A write that no pipe takes at once, even one that was enlarged.
HUGE = 3 << 20

SEPARATORS = (b"\n", b"b", b"bc", b"zz", b"\nab")


@dataclass(frozen=True)
class Step:
    """One thing to do; `target` is the number of the child it is about."""

    name: str
    target: int
    arguments: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(repr, (self.target, *self.arguments)))})"


@dataclass
class Child:
    """What a generator has to know of a child."""

    pipes: frozenset[int]
    errors_to_output: bool
    alive: bool = True
    stopped: bool = False
    dropped: bool = False
    open_fds: set[int] = field(default_factory=lambda: {0, 1, 2})
    held: bool = False
    room: dict[int, int] = field(default_factory=lambda: {1: ROOM, 2: ROOM})
    # Bytes of standard input that were written and not yet read by the child.
    unheard: int = 0
    stdin_open: bool = True
    writes_after_end: int = 0

    def pipe_of(self, fd: int) -> int:
        """The pipe that the child's descriptor leads to."""
        return 1 if fd == 2 and self.errors_to_output else fd


class Generator:
    """Draws steps one after the other."""

    def __init__(self, seed: int, length: int = 24) -> None:
        self.random = random.Random(seed)
        self.length = length
        self.children: list[Child] = []
        self.steps: list[Step] = []

    def plan(self) -> list[Step]:
        """Steps from the start of the first child to the end of everything."""
        self.start()
        while len(self.steps) < self.length:
            there = [number for number, child in enumerate(self.children) if not child.dropped]
            if len(self.children) < 3 and (not there or self.random.random() < 0.06):
                self.start()
            elif there:
                self.draw(self.random.choice(there))
            else:
                break
        self.end()
        return self.steps

    def add(self, name: str, target: int, *arguments: Any) -> None:
        """One more step."""
        self.steps.append(Step(name, target, arguments))

    def start(self) -> None:
        """A child with some of its streams in our hands."""
        choose = self.random.choice
        stdin, stdout = choose(("PIPE", "PIPE", "DEVNULL")), choose(("PIPE", "PIPE", "PIPE", "DEVNULL"))
        stderr = choose(("PIPE", "STDOUT", "DEVNULL"))
        limit = choose((None, None, None, 16, 100, 5000))
        number = len(self.children)
        pipes = {fd for fd, what in enumerate((stdin, stdout, stderr)) if what == "PIPE"}
        self.children.append(Child(frozenset(pipes), stderr == "STDOUT"))
        self.add("start", number, stdin, stdout, stderr, limit)

    def draw(self, number: int) -> None:
        """Any step that this child allows."""
        child = self.children[number]
        possible: dict[str, int] = {"signal_ended": 1} if not child.alive else {}
        if child.alive and not child.stopped:
            possible |= {"say": 8, "hold": 1 if not child.held else 0, "shut": 1, "exit": 1, "die": 1, "stop": 1}
            possible["hear"] = 4 if child.unheard else 0
        if child.alive:
            possible |= {"signal": 1, "resume": 4 if child.stopped else 0}
        if child.held:
            possible["release"] = 1
        if not child.dropped:
            possible |= {"wait": 1, "cancel": 3}
            if child.pipes - {0}:
                possible |= {"read": 12, "cancelled_read": 2}
            if 0 in child.pipes:
                possible |= {"write": 4, "drain": 3, "close": 1, "write_eof": 1, "wait_closed": 1}
            possible["drop"] = 1 if self.random.random() < 0.3 else 0
        if possible:
            name = self.random.choices(list(possible), list(possible.values()))[0]
            getattr(self, f"draw_{name}")(number, child)

    # --- what the child does ---------------------------------------------------------------------

    def draw_say(self, number: int, child: Child) -> None:
        """Some text on one of its outputs."""
        fd = self.random.choice((1, 1, 2))
        text = "".join(self.random.choices("aabbccdz\n", k=self.random.randint(1, 12))).replace("\n", "\\n")
        count = self.random.choice((1, 1, 1, 3, 20, 200, 900))
        size = len(text.replace("\\n", "\n")) * count
        pipe = child.pipe_of(fd)
        if fd in child.open_fds and size <= child.room[pipe]:
            child.room[pipe] -= size
            self.add("say", number, fd, text, count)

    def draw_hear(self, number: int, child: Child) -> None:
        """It reads all or some of what was written."""
        if 0 in child.open_fds:
            # In between, it depends on the size of the pipe whether `drain` has to wait any longer.
            most = child.unheard - 2 * HUGE // 3 if child.unheard > HUGE // 2 else child.unheard
            count = self.random.choice((child.unheard, self.random.randint(1, most)))
            child.unheard -= count
            self.add("hear", number, count)

    def draw_shut(self, number: int, child: Child) -> None:
        """It closes one of its descriptors."""
        if child.open_fds:
            fd = self.random.choice(sorted(child.open_fds))
            child.open_fds.discard(fd)
            self.add("shut", number, fd)

    def draw_hold(self, number: int, child: Child) -> None:
        """It leaves a process behind that holds its outputs."""
        if fds := child.open_fds & {1, 2}:
            child.held = True
            self.add("hold", number, *sorted(fds))

    def draw_release(self, number: int, child: Child) -> None:
        """That process ends."""
        child.held = False
        self.add("release", number)

    def draw_exit(self, number: int, child: Child) -> None:
        """It ends."""
        child.alive = False
        self.add("exit", number, self.random.choice((0, 0, 1, 77)))

    def draw_die(self, number: int, child: Child) -> None:
        """It ends by a signal."""
        child.alive = False
        self.add("die", number, int(self.random.choice((signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL))))

    # --- what is done to it ----------------------------------------------------------------------

    def draw_signal(self, number: int, child: Child) -> None:
        """One that ends it."""
        how = self.random.choice(("kill", "terminate", "send_signal"))
        if child.stopped:
            how = "kill"
        if not child.dropped:
            child.alive, child.stopped = False, False
            self.add("signal", number, how)

    def draw_signal_ended(self, number: int, child: Child) -> None:
        """A signal after the end."""
        if not child.dropped:
            self.add("signal", number, self.random.choice(("kill", "terminate", "send_signal")))

    def draw_stop(self, number: int, child: Child) -> None:
        """It stands still."""
        child.stopped = True
        self.add("stop", number)

    def draw_resume(self, number: int, child: Child) -> None:
        """It goes on."""
        child.stopped = False
        self.add("resume", number)

    def draw_wait(self, number: int, child: Child) -> None:
        """A task that waits for it."""
        self.add("wait", number)

    def draw_drop(self, number: int, child: Child) -> None:
        """The last reference goes."""
        child.alive, child.dropped, child.stopped = False, True, False
        self.add("drop", number)

    # --- its streams -----------------------------------------------------------------------------

    def reading(self) -> tuple[str, Any]:
        """A way to read, and its argument."""
        kind = self.random.choice(("read", "read", "readline", "readline", "readuntil", "readexactly", "next", "all"))
        size = self.random.choice((0, 1, 3, 10, 100, 3000))
        arguments = {"read": size, "readexactly": size, "readuntil": self.random.choice(SEPARATORS)}
        return kind, arguments.get(kind)

    def draw_read(self, number: int, child: Child) -> None:
        """A task that reads."""
        fd = self.random.choice(sorted(child.pipes - {0}))
        self.add("read", number, fd, *self.reading())

    def draw_cancelled_read(self, number: int, child: Child) -> None:
        """One that is cancelled a few turns after the child has written, whether it has ended or not."""
        fd = self.random.choice(sorted(child.pipes - {0}))
        text = ""
        if child.alive and not child.stopped and fd in child.open_fds and child.room[fd] > 100:
            text = "".join(self.random.choices("abc", k=self.random.randint(1, 99))) + "\\n"
            child.room[fd] -= len(text) - 1
        self.add("cancelled_read", number, fd, *self.reading(), text, self.random.randint(0, 4))

    def draw_cancel(self, number: int, child: Child) -> None:
        """Gives up one of the tasks that wait."""
        self.add("cancel", number, self.random.random())

    def draw_write(self, number: int, child: Child) -> None:
        """Bytes for the child."""
        gone = not child.alive or 0 not in child.open_fds
        if gone and child.writes_after_end >= 3:
            return
        child.writes_after_end += gone
        size = self.random.choice((0, 1, 10, 1000, 9000, 9000, HUGE))
        if child.stdin_open:
            child.unheard += size
        self.add("write", number, size)

    def draw_drain(self, number: int, child: Child) -> None:
        """A task that waits until the child has read enough."""
        self.add("drain", number)

    def draw_close(self, number: int, child: Child) -> None:
        """The end of standard input."""
        child.stdin_open = False
        self.add("close", number)

    def draw_write_eof(self, number: int, child: Child) -> None:
        """The same by its other name."""
        child.stdin_open = False
        self.add("write_eof", number)

    def draw_wait_closed(self, number: int, child: Child) -> None:
        """A task that waits for it."""
        self.add("wait_closed", number)

    # --- the end ---------------------------------------------------------------------------------

    def end(self) -> None:
        """Everything is read to its end; or everything is dropped; or the loop is closed."""
        if self.random.random() < 0.15:
            self.add("close_loop", 0)
            return
        for number, child in enumerate(self.children):
            if child.dropped:
                continue
            if child.stopped:
                self.add("resume", number)
            if child.held:
                self.add("release", number)
            how = self.random.choice(("read", "read", "communicate", "cancelled_communicate", "drop"))
            self.add(f"end_by_{how}", number, self.random.choice((0, 10, 9000, HUGE)))
