"""A library's own tests, from its source distribution: `their_tests.py LOOP FOLDER pytest-arguments...`"""

import os
import sys

import program
import pytest


class Outcomes:
    """Counts what pytest reports, and keeps what failed."""

    def __init__(self) -> None:
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.counts[report.outcome] += 1
        if report.outcome == "failed":
            self.failed.append(report.nodeid)
            print(report.longreprtext, file=sys.stderr)


if __name__ == "__main__":
    folder, *arguments = program.ARGS
    os.chdir(folder)
    sys.path.insert(0, folder)  # as `python -m pytest` has it
    outcomes = Outcomes()
    # The options of their configuration need further plugins; what matters of them is given by the test.
    options = ["-q", "-o", "addopts=", "-p", "no:cacheprovider", "-p", "no:randomly", "--rootdir", folder]
    status = pytest.main([*options, *arguments], plugins=[outcomes])
    program.report({"status": int(status), **outcomes.counts, "failures": outcomes.failed})
