"""The interpreter's test.test_asyncio in a program of its own: `whole_suite.py asyncio|procio NAMES-LEFT-OUT...`.

Prints one line of JSON: the outcome of each test by its name.
"""

import json
import sys
import unittest
import warnings


class Loader(unittest.TestLoader):
    """Leaves out the tests that the command line names."""

    def getTestCaseNames(self, testCaseClass: type[unittest.TestCase]) -> list[str]:
        return [name for name in super().getTestCaseNames(testCaseClass) if name not in sys.argv[2:]]


class Outcomes(unittest.TestResult):
    """Keeps them by the tests' names."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.found[test.id()] = "passed"

    def addError(self, test, error):  # type: ignore[no-untyped-def]
        super().addError(test, error)
        self.found[test.id()] = "failed"

    addFailure = addError

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self.found[test.id()] = "skipped"

    def addSubTest(self, test, subtest, error):  # type: ignore[no-untyped-def]
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.found[test.id()] = "failed"


if __name__ == "__main__":
    if sys.argv[1] == "procio":
        import procio

        procio.install()
    from test import support

    support.use_resources = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import test.test_asyncio

        suite = Loader().loadTestsFromModule(test.test_asyncio)
        outcomes = Outcomes()
        suite.run(outcomes)
    for test_case, text in outcomes.errors + outcomes.failures:
        print(f"{test_case.id()}\n{text}", file=sys.stderr)
    print(json.dumps(outcomes.found))
