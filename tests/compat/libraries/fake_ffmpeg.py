"""Speaks as ffmpeg does, for ffmpeg_wrapper.py: progress on stderr, the output on stdout."""

import os
import signal
import sys

print("ffmpeg version 0", file=sys.stderr)
if "endless" in sys.argv:
    signal.signal(
        signal.SIGTERM, lambda *_: (print("Exiting normally, received signal 15.", file=sys.stderr), sys.exit(255))
    )
    while True:
        print(
            "frame=    1 fps=0.0 q=1.0 size=       1kB time=00:00:01.00 bitrate=   1.0kbits/s speed=1x",
            end="\r",
            file=sys.stderr,
            flush=True,
        )
        signal.sigtimedwait([], 0.02)
if "broken" in sys.argv:
    print("broken: No such file or directory", file=sys.stderr)
    sys.exit(1)
frame = 0
while data := os.read(0, 65536):
    frame += 1
    print(
        f"frame= {frame:4} fps= 25 q=1.0 size= {frame:7}kB time=00:00:01.00 bitrate= 100.0kbits/s speed=1x",
        end="\r",
        file=sys.stderr,
    )
    view = memoryview(bytes(byte ^ 255 for byte in data))
    while view:
        view = view[os.write(1, view) :]
