#!/usr/bin/env python3
"""Compare what procio's operations cost with the last figures, by what does not depend on the machine's mood.

python benches/gate.py              count, compare with benches/gate.json; exit with 1 if a case costs more
python benches/gate.py --accept     count, and make the figures the new ones
python benches/gate.py --show       print everything that was counted
"""

from __future__ import annotations

import sys

from procio_gate.main import main

if __name__ == "__main__":
    sys.exit(main())
