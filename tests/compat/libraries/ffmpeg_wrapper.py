"""python-ffmpeg: data through its standard streams, progress from stderr, a failure, terminate()."""

import os
import stat
import sys
import tempfile

import program
from ffmpeg import FFmpegError
from ffmpeg.asyncio import FFmpeg


def executable(folder: str) -> str:
    """The wrapper takes one file name, so there has to be a program of one word."""
    path = os.path.join(folder, "ffmpeg")
    with open(path, "w") as file:
        file.write(f'#!/bin/sh\nexec {sys.executable} {program.FOLDER}/fake_ffmpeg.py "$@"\n')
    os.chmod(path, stat.S_IRWXU)
    return path


async def convert(path: str) -> list:
    wrapper = FFmpeg(path).input("pipe:0").output("pipe:1")
    frames = []
    wrapper.on("progress", lambda progress: frames.append(progress.frame))
    data = os.urandom(500_000)
    output = await wrapper.execute(data)
    return [output == bytes(byte ^ 255 for byte in data), frames == sorted(frames) and bool(frames)]


async def fail(path: str) -> str:
    try:
        await FFmpeg(path).input("broken").output("out").execute()
    except FFmpegError as exc:
        return str(exc)
    return "no error"


async def stop(path: str) -> bool:
    wrapper = FFmpeg(path).input("endless").output("out")
    terminated = []
    wrapper.on("terminated", lambda: terminated.append(True))
    wrapper.once("progress", lambda _: wrapper.terminate())
    await wrapper.execute()
    return bool(terminated)


async def task() -> dict:
    with tempfile.TemporaryDirectory() as folder:
        path = executable(folder)
        return {"converted": await convert(path), "failed": await fail(path), "stopped": await stop(path)}


program.run(task)
