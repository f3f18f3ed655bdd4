"""``python -m demo.child MODULE ARGUMENTS…`` runs a module as ``python -m`` does, and ends when its parent does.

The parent keeps the other end of the standard input. However the parent ends, that end is closed then.
"""

import os
import runpy
import signal
import sys
import threading


def _end_with_the_parent() -> None:
    os.read(0, 1)
    # Whoever started this made it the leader of its process group, to which a worker's pool belongs.
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
