"""A chess engine that plays the first legal move, for chess_engine.py."""

import sys

import chess

board = chess.Board()
for line in sys.stdin:
    match line.split():
        case ["uci"]:
            print("id name first\nid author none\noption name Hash type spin default 1 min 1 max 9\nuciok")
        case ["isready"]:
            print("readyok")
        case ["position", "startpos", *moves]:
            board = chess.Board()
            for move in moves[1:]:
                board.push_uci(move)
        case ["go", *_]:
            print("info depth 1 score cp 1")
            print("bestmove", min(board.legal_moves, key=str))
        case ["quit"]:
            break
    sys.stdout.flush()
