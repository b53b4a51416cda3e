"""A progress bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import shutil
import sys
from time import monotonic


class Progress:
    """Draw one line on stderr and keep redrawing it."""

    def __init__(self, steps: int) -> None:
        self.steps = max(1, steps)
        self.done = -1
        self.begin = monotonic()
        self.tty = sys.stderr.isatty()

    def step(self, text: str) -> None:
        """Announce the next step."""
        self.done += 1
        if not self.tty:
            return
        share = self.done / self.steps
        left = ""
        if self.done:
            rest = (monotonic() - self.begin) * (1 - share) / share
            left = f", {int(rest) // 60}:{int(rest) % 60:02} left"
        bar = "#" * int(30 * share)
        line = f"[{bar:<30}] {self.done}/{self.steps}{left}  {text}"
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write("\r\x1b[2K" + line[:width])
        sys.stderr.flush()

    def clear(self) -> None:
        """Take the bar away."""
        if self.tty:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()

    def complain(self, text: str) -> None:
        """Write a message that stays."""
        if text:
            self.clear()
            print(text.rstrip(), file=sys.stderr)
