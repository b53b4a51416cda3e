"""chess: a game against an engine, by the coroutines and by the engine in a thread of its own."""

import asyncio

import chess
import chess.engine
import program

COMMAND = program.child("chess_player")
MOVES = 12


async def game() -> list:
    transport, engine = await chess.engine.popen_uci(COMMAND)
    board = chess.Board()
    for _ in range(MOVES):
        played = await engine.play(board, chess.engine.Limit(depth=1))
        board.push(played.move)
    analysed = await engine.analyse(board, chess.engine.Limit(depth=1))
    await engine.quit()
    returncode = await engine.returncode
    transport.close()
    return [engine.id["name"], [str(move) for move in board.move_stack], str(analysed["score"].relative), returncode]


def simple_game() -> list:
    with chess.engine.SimpleEngine.popen_uci(COMMAND) as engine:
        board = chess.Board()
        for _ in range(MOVES):
            board.push(engine.play(board, chess.engine.Limit(depth=1)).move)
    return [str(move) for move in board.move_stack]


async def killed() -> str:
    """An engine that dies is reported with its status."""
    transport, engine = await chess.engine.popen_uci(COMMAND)
    transport.kill()
    try:
        await engine.ping()
    except chess.engine.EngineTerminatedError:
        pass
    transport.close()
    return str(await engine.returncode)


async def task() -> dict:
    name, moves, score, returncode = await game()
    return {
        "name": name,
        "moves": len(moves),
        "score": score,
        "returncode": returncode,
        "same_in_thread": await asyncio.to_thread(simple_game) == moves,
        "killed": await killed(),
    }


program.run(task)
