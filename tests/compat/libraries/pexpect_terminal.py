"""pexpect: a shell at a pseudo-terminal, spoken to through the loop's pipes (`async_=True`)."""

import pexpect
import program


async def task() -> dict:
    shell = pexpect.spawn("/bin/sh", ["-c", "PS1='> ' exec sh -i"], encoding="utf-8", echo=False, timeout=10)
    await shell.expect_exact("> ", async_=True)
    answers = []
    for command in ("echo $((6 * 7))", "tty | cut -c1-5", "printf %s done"):
        shell.sendline(command)
        await shell.expect_exact("> ", async_=True)
        answers.append(shell.before.strip())
    late = await shell.expect(["never", pexpect.TIMEOUT], timeout=0.1, async_=True)
    shell.sendline("exit 3")
    await shell.expect(pexpect.EOF, async_=True)
    shell.close()
    return {"answers": answers, "timeout": late, "exit": shell.exitstatus}


program.run(task)
