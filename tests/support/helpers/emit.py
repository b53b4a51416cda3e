"""Write the arguments one after the other, unbuffered; TEXT*N is TEXT N times.

`wait` waits for a byte on stdin, and `note:FILE` writes one into that file.
"""

import os
import sys

for argument in sys.argv[1:]:
    if argument == "wait":
        os.read(0, 1)
        continue
    if argument.startswith("note:"):
        with open(argument[5:], "wb") as file:
            file.write(b"1")
        continue
    text, star, count = argument.rpartition("*")
    repeated = text.encode() * int(count) if star else argument.encode()
    data = memoryview(repeated.replace(b"\\n", b"\n"))
    while data:
        data = data[os.write(1, data) :]
