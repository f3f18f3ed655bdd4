"""Run benchmarks by name, one after the other; their own options follow."""

import argparse
import importlib
import os
import subprocess
import sys

NAMES = ("admin", "costs", "crashing", "delete", "duplicate", "enqueue", "overview", "status", "table", "worker")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, add_help=sys.argv[1:2] in (["-h"], ["--help"])
    )
    parser.add_argument("names", nargs="+", choices=NAMES)
    given, options = parser.parse_known_args()
    if len(given.names) == 1:
        importlib.import_module(f"tests.bench.{given.names[0]}").main(options)
        return
    for name in given.names:
        load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
        print(f"{name} ({os.cpu_count()} cores, load average {load})", flush=True)
        subprocess.run([sys.executable, "-m", "tests.bench", name, *options], check=True)
        print(flush=True)


main()
