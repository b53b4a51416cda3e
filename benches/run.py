#!/usr/bin/env python3
"""Benchmark procio side by side with its peers: ``python benches/run.py``."""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036  (no installer has looked at the version before this script runs)
    sys.exit("the benchmark needs Python 3.11 or newer")

from procio_bench.main import main

if __name__ == "__main__":
    sys.exit(main())
