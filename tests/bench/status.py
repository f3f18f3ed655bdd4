"""What a request for an operation's status costs, beside the session and the user that any request has."""

import statistics
import time
from collections.abc import Callable, Sequence

from django.http import HttpResponse

from tests.bench.setting import servers

TURNS = 500
#: Milliseconds.
LIMIT = 5
ACCEPT = {
    "JSON": {},
    "JSON, unchanged": {},
    "a region of a page": {"Accept": "text/html", "X-Requested-With": "task-safety-live"},
    "a page": {"Accept": "text/html"},
}


def main(options: Sequence[str]) -> None:
    with servers():
        from django.conf import settings

        settings.ROOT_URLCONF = "tests.bench.status_urls"
        base = ask("/nothing/")
        print(f"{'a view that only reads the user':32}{median(base, base)[0]:6.2f} ms")
        for name, request in requests().items():
            without, taken, processor = median(base, ask(**request))
            print(
                f"{name:32}{taken:6.2f} ms   ours: {taken - without:5.2f} ms, of which {processor:5.2f} ms of the "
                f"processor   (limit {LIMIT} ms)"
            )


def median(base: Callable[[], HttpResponse], call: Callable[[], HttpResponse]) -> tuple[float, float, float]:
    """Return in milliseconds what each of two calls takes, in turns, and how much more of the processor the second."""
    walls: list[list[float]] = [[], []]
    processor: list[list[float]] = [[], []]
    for _ in range(TURNS):
        for number, one in enumerate((base, call)):
            start = time.perf_counter(), time.thread_time()
            one()
            walls[number].append(time.perf_counter() - start[0])
            processor[number].append(time.thread_time() - start[1])
    first, second = (statistics.median(taken) * 1000 for taken in walls)
    return first, second, (statistics.median(processor[1]) - statistics.median(processor[0])) * 1000


def requests() -> dict[str, dict[str, str]]:
    """Return what is asked for of a waiting operation."""
    from django.contrib.auth.models import User

    from tests.testapp.tasks import bench_safe

    operation = bench_safe.options(requested_by=User.objects.get()).enqueue(1)
    address = operation.status_url()
    tag = ask(address)()["ETag"]
    return {
        name: {"address": address, **headers, **({"If-None-Match": tag} if "unchanged" in name else {})}
        for name, headers in ACCEPT.items()
    }


def ask(address: str, **headers: str) -> Callable[[], HttpResponse]:
    """Return a request of somebody who is logged in."""
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client()
    client.force_login(User.objects.get_or_create(username="ada")[0])
    return lambda: client.get(address, headers=headers)
