"""Write without end, or as much as the third argument says; with a second one, say in that file how much.

What SIGPIPE does is left to the caller.
"""

import os
import signal
import sys

if hasattr(signal, "SIGPIPE"):
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
unit = sys.argv[1].encode().replace(b"\\n", b"\n")
block = unit * max(1, 8192 // len(unit))
report = open(sys.argv[2], "wb", 0) if len(sys.argv) > 2 else None
left = int(sys.argv[3]) if len(sys.argv) > 3 else sys.maxsize
written = 0
while written < left:
    written += os.write(1, block[: left - written])
    if report is not None:
        report.seek(0)
        report.write(written.to_bytes(8, "little"))
