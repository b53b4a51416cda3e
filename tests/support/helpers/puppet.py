"""Do what is asked through a socket, one command at a time, and answer each when it is done.

say FD TEXT*N    write TEXT N times
hear N           read N bytes of standard input, or to its end; answer how many there were and their sum
shut FD          close a descriptor
hold FD...       leave a process behind that holds these descriptors and nothing else; answer its pid
exit CODE        end
die SIGNAL       end by a signal
"""

import os
import signal
import sys
import zlib

CONTROL = int(sys.argv[1])


def say(fd, text):
    word, _, count = text.rpartition("*")
    data = memoryview(word.encode().replace(b"\\n", b"\n") * int(count))
    while data:
        data = data[os.write(int(fd), data) :]


def hear(count):
    heard, total = 0, 0
    while heard < int(count) and (data := os.read(0, min(1 << 16, int(count) - heard))):
        heard += len(data)
        total = zlib.crc32(data, total)
    return f"{heard} {total}"


def hold(*fds):
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        for fd in set(range(64)) - set(map(int, fds)):
            try:
                os.close(fd)
            except OSError:
                pass
        signal.pause()
    os.close(writes)
    os.read(reads, 1)
    os.close(reads)
    return pid


def die(number):
    os.kill(os.getpid(), int(number))


COMMANDS = {
    "say": say,
    "hear": hear,
    "shut": lambda fd: os.close(int(fd)),
    "hold": hold,
    "exit": lambda code: os._exit(int(code)),
    "die": die,
}

while command := os.read(CONTROL, 4096).decode():
    name, *arguments = command.split(" ")
    try:
        answer = COMMANDS[name](*arguments)  # type: ignore[operator]
    except OSError as error:
        answer = type(error).__name__
    os.write(CONTROL, str(answer).encode())
