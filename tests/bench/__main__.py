"""Run one benchmark by name."""

import argparse
import importlib

NAMES = ("enqueue", "worker", "duplicate", "table", "delete")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    importlib.import_module(f"tests.bench.{parser.parse_args().name}").main()


main()
