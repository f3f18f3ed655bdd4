"""The admin's list and page with millions of operations: how many statements, the slowest of them, and the whole."""

import argparse
import re
import statistics
import time
from collections.abc import Sequence
from typing import Any

from tests.bench.setting import servers

#: What is asked of the list, and how it is called.
LISTS = {
    "newest": "",
    "failed": "?state=failed",
    "succeeded": "?state=succeeded",
    "waiting": "?state=queued",
    "stuck": "?stuck=yes",
    "failed in the last hour": "?failed=hour",
    "a task": "?task=shop.tasks.number_3",
    "a task that nothing is of": "?task=shop.tasks.none",
    "a queue that nothing is in": "?queue=none",
    "failed, of a task": "?state=failed&task=shop.tasks.number_3",
    "failed, in a queue with none": "?state=failed&queue=none",
    "about a model": "?model=testapp.page",
    "about a model, none": "?model=testapp.note",
    "asked for by a user": "?requested_by=1",
    "an object": "?q=testapp.page:77",
    "a primary key": "?q=77",
    "a key": "?q=no%20such%20key",
}
#: A moment for each row, newest first, in thirty days; ids that grow with it, as those of `ids.new` do.
ROWS = """
    INSERT INTO {table} ({columns})
    SELECT {values} FROM {table} seed, LATERAL (
        SELECT n, now() - n * interval '0.5 second' AS moment FROM generate_series(1, %s) n
    ) made WHERE seed.id = %s"""
STATE = """CASE WHEN n %% 400 = 0 THEN 'failed' WHEN n %% 5000 = 1 THEN 'cancelled' WHEN n %% 2500 = 2 THEN 'queued'
    WHEN n %% 50000 = 3 THEN 'running' ELSE 'succeeded' END"""
MILLISECONDS = "lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0')"
VALUES = {
    "id": f"({MILLISECONDS} || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid",
    "state": STATE,
    "task": "'shop.tasks.number_' || (n %% 20)",
    "title": "'Number ' || n",
    "key_digest": "md5(n::text) || md5((-n)::text)",
    "subject_label": "CASE WHEN n %% 3 = 0 THEN '' ELSE 'testapp.page' END",
    "subject_id": "CASE WHEN n %% 3 = 0 THEN '' ELSE (n %% 100000)::text END",
    "subject_database": "'default'",
    "requested_by": "CASE WHEN n %% 2 = 0 THEN '' ELSE (n %% 50)::text END",
    "created_at": "moment",
    "available_at": "moment",
    "started_at": "moment",
    "ended_at": f"CASE WHEN ({STATE}) IN ('queued', 'running') THEN NULL ELSE moment END",
    "due_at": "moment + interval '30 days'",
}


def main(options: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench admin", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--times", type=int, default=5, help="how often each page is fetched")
    given, _ = parser.parse_known_args(options)
    with servers():
        from django.test.utils import setup_test_environment

        setup_test_environment()
        start = time.perf_counter()
        fill(given.rows)
        print(f"{given.rows:,} rows in {time.perf_counter() - start:.0f} s", flush=True)
        look(given.times)


def fill(rows: int) -> None:
    from django.db import connection

    from django_task_safety.models import Operation
    from tests.testapp.tasks import charge

    seed = charge.enqueue(1)
    names = [field.column for field in Operation._meta.concrete_fields]
    statement = ROWS.format(
        table=Operation._meta.db_table,
        columns=", ".join(names),
        values=", ".join(VALUES.get(name, f"seed.{name}") for name in names),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [rows, seed.pk])
        cursor.execute(f"VACUUM ANALYZE {Operation._meta.db_table}")


def look(times: int) -> None:
    from django.contrib.auth.models import User
    from django.test import Client
    from django.urls import reverse

    from django_task_safety.models import Operation

    client = Client()
    client.force_login(User.objects.create_superuser("admin"))
    page = reverse("admin:django_task_safety_operation_changelist")
    client.get(reverse("admin:index"))  # compiles the templates of the site
    for name, query in LISTS.items():
        html = show(client, name, page + query, times)
        if onward := re.search(r'href="([^"]*)" rel="next"', html):
            show(client, "    and on", page + onward[1].replace("&amp;", "&"), times)
    for state in ("succeeded", "failed", "running"):
        pk = Operation.objects.filter(state=state).order_by("-created_at")[0].pk
        show(client, f"page: {state}", reverse("admin:django_task_safety_operation_change", args=[pk]), times)


def show(client: Any, name: str, url: str, times: int) -> str:
    """Fetch a page several times, and print what the first time and the others cost."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    wholes, own, slowest = [], [], []
    for _ in range(times):
        start, worked = time.perf_counter(), time.process_time()
        answer = client.get(url)
        own.append((time.process_time() - worked) * 1e3)
        wholes.append((time.perf_counter() - start) * 1e3)
        assert answer.status_code == 200, (url, answer.status_code)
    for _ in range(times):
        with CaptureQueriesContext(connection) as captured:
            client.get(url)
        # The first two are the session's and the user's.
        times_taken = [float(query["time"]) * 1e3 for query in captured.captured_queries[2:]]
        slowest.append(max(times_taken))
    first, then, work = wholes[0], statistics.median(wholes[1:]), statistics.median(own[1:])
    print(
        f"{name:30} {len(times_taken)} statements, the slowest {statistics.median(slowest):3.0f} ms; "
        f"the page {first:4.0f} ms at first, then {then:4.0f} ms, {work:3.0f} ms of them in Python",
        flush=True,
    )
    return str(answer.content.decode())
