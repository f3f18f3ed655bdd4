"""Compare Django's and Celery's own tests with and without the package: ``python -m tests.upstream [suite [test …]]``.

Ends with 1 where a test that passes plainly does not pass with us and is no known difference, or where a known one
passes.
"""

import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.upstream import celery_suite, differences, django_suite
from tests.upstream.sdists import fetch

Run = Callable[..., dict[str, str]]
SUITES: dict[str, Run] = {"django": django_suite.run, "celery": celery_suite.run}


def compare(suite: str, tests: list[str]) -> bool:
    """Run a suite twice and say what differs; return whether it is what is known."""
    run, known = SUITES[suite], differences.known(suite)
    with tempfile.TemporaryDirectory() as directory:
        source = fetch(suite, Path(directory))
        plain, safe = run(source, tests, safe=False), run(source, tests, safe=True)
        # All that was asked for, or what is known of a test that is not there any more would be overlooked.
        ran = plain if tests else {**plain, **known}
        new, gone = differences.unexpected(differences.differing(plain, safe), known, ran)
        if again := sorted((new | gone) & plain.keys()):
            # Some of them depend on how busy the machine is.
            plain, safe = run(source, again, safe=False), run(source, again, safe=True)
            differ = differences.differing(plain, safe)
            new, gone = new & differ, gone - differ
    for text, found in (("fails with us", new), ("does not differ any more", gone)):
        for test in sorted(found):
            print(f"{suite} | {test} | {text}")
    passed = sum(outcome == differences.PASSED for outcome in ran.values())
    print(f"{suite}: {passed} pass plainly; {len(known)} differences are known, {len(new)} new, {len(gone)} gone")
    return not (new or gone)


def main(suite: str = "", *tests: str) -> None:
    # So that being terminated still stops the servers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    as_known = [compare(name, list(tests)) for name in ([suite] if suite else SUITES)]
    sys.exit(0 if all(as_known) else 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
