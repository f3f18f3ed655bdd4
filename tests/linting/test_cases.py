"""Cases beside the documented ones: ways to write a fault, and what only looks like one."""

from pathlib import Path

import pytest
from celery import Celery

from django_task_safety.linting import task
from django_task_safety.linting.report import lint

START = """
import os, requests, subprocess, time, urllib.request, uuid
from contextlib import suppress
from functools import partial
from pathlib import Path
from celery import group
from celery.result import AsyncResult
from django.core.cache import cache, caches
from django.core.files.base import ContentFile
from django.core.mail import EmailMessage, get_connection, send_mail
from django.db import IntegrityError, OperationalError, transaction
from django.db.models import F
import django_task_safety as ts
from django_task_safety import SafeTask, current_operation, idempotent_task, safe_task, track
from orders.models import Order
from orders.tasks import remind
KEPT = {}
REGIONS = ("eu", "us")
session = requests.Session()

"""

SHARED = "from celery import shared_task\n@shared_task\ndef f(): time.sleep(1)"
FAULTS = {
    "the decorator by its module": ("L301", "@ts.safe_task\ndef f(): time.sleep(1)"),
    "a class": ("L301", "class F(SafeTask):\n    def run(self): time.sleep(1)"),
    "a base": ("L301", "@ts.anything(base=SafeTask)\ndef f(): time.sleep(1)"),
    "an import in the body": ("L301", "@safe_task\ndef f():\n    from time import sleep\n    sleep(1)"),
    "a session of the module": ("L101", "@safe_task\ndef f(): session.post('x')"),
    "a session of a with": ("L101", "@safe_task\ndef f():\n    with requests.Session() as s: s.post('x')"),
    "a method by its name": ("L101", "@safe_task\ndef f(): requests.request('post', 'x')"),
    "a message in a variable": ("L102", "@safe_task\ndef f():\n    m = EmailMessage('x')\n    m.send()"),
    "mail to a user": ("L102", "@safe_task\ndef f(order): order.user.email_user('a', 'b')"),
    "a path that writes": ("L105", "@safe_task\ndef f(): Path('x').write_text('a')"),
    "a file of a model": (
        "L105",
        "@safe_task\ndef f(order: Order): order.bill.save('a', ContentFile(b''))",
    ),
    "a marker in the cache": ("L106", "@safe_task\ndef f(order: Order):\n    cache.set('a', True)\n    order.save()"),
    "what was written, in the cache": (
        "L106",
        "@safe_task\ndef f(order: Order):\n    order.save()\n    cache.set('a', order.total)",
    ),
    "a counter in a block of its own": (
        "L601",
        "@safe_task(atomic=False)\ndef f():\n"
        "    with transaction.atomic(): Order.objects.update(n=F('n') + 1)\n    Order.objects.update(m=1)",
    ),
    "a key in a variable": ("L107", "@safe_task\ndef f(p):\n    k = uuid.uuid4().hex\n    p.pay(idempotency_key=k)"),
    "a comprehension": ("L201", "@safe_task\ndef f(orders): [remind.delay(o) for o in orders]"),
    "rows that are read in chunks": (
        "L201",
        "@safe_task\ndef f():\n    for o in Order.objects.iterator(chunk_size=9): remind.delay(o)",
    ),
    "apply_async of arguments": ("L201", "@safe_task\ndef f(os):\n    for o in os: remind.apply_async(args=(o,))"),
    "a partial": ("L203", "@safe_task\ndef f(): transaction.on_commit(partial(send_mail, 'a'))"),
    "a function in the body": (
        "L203",
        "@safe_task\ndef f():\n    def mail(): send_mail('a', 'b', None, [])\n    transaction.on_commit(mail)",
    ),
    "a result in a variable": ("L302", "@safe_task\ndef f():\n    r = remind.apply_async()\n    return r.get()"),
    "the result of a group": ("L302", "@safe_task\ndef f(): return group(remind.s(1))().get()"),
    "the result of an id": ("L302", "@safe_task\ndef f(pk): return AsyncResult(pk).get()"),
    "an exit that is raised": ("L401", "@safe_task\ndef f(): raise SystemExit"),
    "F in an assignment": ("L602", "@safe_task(atomic=False)\ndef f(o):\n    o.n = F('n') + 1\n    o.save()"),
    "an instance as a parameter": ("L604", "@safe_task\ndef f(order: Order): KEPT[order.pk] = order"),
    "an attribute of the task": ("L604", "@safe_task(bind=True)\ndef f(self): self.o = Order.objects.get()"),
    "a row as the result": ("L607", "@safe_task\ndef f(order: Order): return order"),
    "a local queryset": ("L607", "@safe_task\ndef f():\n    rows = Order.objects.all()\n    return rows"),
    "a change that is posted as a query": (
        "L101",
        "@safe_task\ndef f(): requests.post('x', json={'query': 'mutation { pay }'})",
    ),
    "data of a request": (
        "L101",
        "@safe_task\ndef f(u):\n    r = urllib.request.Request(u, data=b'')\n    urllib.request.urlopen(r)",
    ),
    "messages of a connection": ("L102", "@safe_task\ndef f(mails): get_connection().send_messages(mails)"),
    "a joined path": ("L105", "@safe_task\ndef f(name):\n    p = Path('x') / name\n    p.write_text('a')"),
    "a task that on_commit() enqueues": (
        "L203",
        "@safe_task\ndef f(pk): transaction.on_commit(lambda: remind.delay(pk))",
    ),
    "a task that on_commit() enqueues by a partial": (
        "L203",
        "@safe_task\ndef f(pk): transaction.on_commit(partial(remind.delay, pk))",
    ),
    "a break out of another loop": (
        "L303",
        "@safe_task(atomic=False)\ndef f(os):\n    while True:\n        for o in os:\n            break",
    ),
    "a program that is waited for": (
        "L304",
        "@safe_task\ndef f():\n    p = subprocess.Popen(['x'])\n    p.wait()",
    ),
    "a program that nobody waits for": ("L402", "@safe_task\ndef f(): subprocess.Popen(['x'])"),
    "a lock that is not waited for": (
        "L507",
        "@safe_task\ndef f(pk):\n    try: Order.objects.select_for_update(nowait=True).get(pk=pk)\n"
        "    except OperationalError: return",
    ),
    "a counter of what stays in the filter": (
        "L601",
        "@safe_task(atomic=False)\ndef f(): Order.objects.filter(n__gt=0).update(n=F('n') - 1)",
    ),
    "rows made in a loop": (
        "L603",
        "@safe_task(atomic=False)\ndef f(rows):\n    for row in rows: Order.objects.create(number=row)",
    ),
    "a row in a result": ("L607", "@safe_task\ndef f(order: Order): return {'order': order}"),
    "a list of rows": ("L607", "@safe_task\ndef f(): return list(Order.objects.all())"),
    "a row by way of a relation": ("L607", "@safe_task\ndef f(o): return o.lines.order_by('n').first()"),
    "everything, suppressed": ("L701", "@safe_task\ndef f(order):\n    with suppress(BaseException): order.close()"),
    "an error, suppressed": ("L704", "@safe_task\ndef f(order):\n    with suppress(Exception): order.close()"),
    "an error that is passed over": (
        "L704",
        "@safe_task\ndef f(orders):\n    for order in orders:\n        try: order.close()\n"
        "        except Exception: continue",
    ),
    "code below a retry": ("L705", "@safe_task(bind=True)\ndef f(self):\n    self.retry()\n    time.time()"),
}
HARMLESS = {
    "a plain function": "def f(): time.sleep(1)",
    "a function in the body": "@safe_task\ndef f():\n    def g(): time.sleep(1)",
    "a parameter of the name": "@safe_task\ndef f(time, open): time.sleep(1); open('x', 'w')",
    "a function of the name": "def open(*args): ...\n@safe_task\ndef f(): open('x', 'w')",
    "reading": "@safe_task\ndef f(): requests.get('x'); open('x').read(); Path('x').read_text(); cache.get('x')",
    "an image in memory": "@safe_task\ndef f(image, buffer): image.save(buffer, 'JPEG')",
    "a file named by its content": "@safe_task\ndef f(storage, name): storage.save(name, ContentFile(b''))",
    "a dictionary's get": "@safe_task\ndef f(d): return d.get('a')",
    "a few calls": "@safe_task\ndef f():\n    for n in range(3): remind.delay(n)",
    "a call with a countdown": "@safe_task\ndef f(os):\n    for o in os: remind.apply_async((o,), countdown=o)",
    "apply of something else": "@safe_task\ndef f(frame): frame.apply(str)",
    "a guarded counter": "@safe_task(atomic=False)\ndef f(): "
    "Order.objects.filter(done=False).update(done=True, n=F('n') + 1)",
    "a value, kept": "@safe_task\ndef f(order: Order): KEPT[order.pk] = order.amount",
    "a row as a result that is dropped": "@safe_task(ignore_result=True)\ndef f(): return Order.objects.get()",
    "a list of values": "@safe_task\ndef f(): return list(Order.objects.values_list('n', flat=True).order_by('n'))",
    "the first of values": "@safe_task\ndef f(): return Order.objects.values_list('pk', flat=True).first()",
    "a field in a result": "@safe_task\ndef f(order: Order): return {'order': order.pk}",
    "a call that leaves its loop": "@safe_task\ndef f(os):\n    for o in os:\n        if o.due:\n"
    "            remind.delay(o)\n            break",
    "calls for a few names": "@safe_task\ndef f():\n    for region in REGIONS: remind.delay(region)",
    "what on_commit() sends without a transaction of the task": "@safe_task(atomic=False)\ndef f(order: Order):\n"
    "    with transaction.atomic():\n        transaction.on_commit(lambda: remind.delay(1))",
    "an index that on_commit() saves": "@safe_task\ndef f(index): transaction.on_commit(lambda: index.save())",
    "a break below another loop": "@safe_task(atomic=False)\ndef f(os):\n    while True:\n        for o in os: pass\n"
    "        else: break",
    "a program with a limit": "@safe_task\ndef f():\n    p = subprocess.Popen(['x'])\n    p.communicate(timeout=9)",
    "a counter that is compared": "@safe_task(atomic=False)\ndef f(n): Order.objects.filter(n=n).update(n=F('n') + 1)",
    "a counter beside a time": "@safe_task(atomic=False)\ndef f(at):\n"
    "    Order.objects.filter(closed_at__isnull=True).update(closed_at=at, n=F('n') + 1)",
    "a sum that begins anew": "@safe_task(atomic=False)\ndef f(order, lines):\n    order.n = 0\n"
    "    for line in lines: order.n += line.n\n    order.save()",
    "a new row that is filled": "@safe_task(atomic=False)\ndef f(lines):\n    order = Order(n=0)\n"
    "    for line in lines: order.n += line.n\n    order.save()",
    "an image that is saved to a file": "@safe_task(atomic=False)\ndef f(image, buffer):\n    image.width *= 2\n"
    "    image.save(buffer)",
    "a retry in a bare except": "@safe_task(bind=True)\ndef f(self, order):\n    try: order.close()\n"
    "    except BaseException as exc: self.retry(exc=exc)",
    "numbers of tokens": "@safe_task\ndef f(usage, page_token): print(usage.total_tokens, usage.tokens, page_token)",
    "a retry that ends the body": "@safe_task(bind=True)\ndef f(self):\n    self.retry(throw=False)\n    return 1",
    "a savepoint": "@safe_task\ndef f():\n    try:\n        with transaction.atomic(): Order.objects.create()\n"
    "    except IntegrityError: pass",
    "what has a savepoint of its own": "@safe_task\ndef f():\n    try: Order.objects.get_or_create(n=1)\n"
    "    except IntegrityError: pass",
    "a broad except that raises": "@safe_task\ndef f():\n    try:\n        for n in track([1]): n.save()\n"
    "    except Exception:\n        print(1)\n        raise",
    "names assigned from each other": "@safe_task\ndef f():\n    a = b.c()\n    b = a.d()\n    a.get()",
}
UNSURE = {
    "headers from elsewhere": ("L101", "@safe_task\ndef f(h): requests.post('x', headers=h())"),
    "a temporary file": ("L105", "@safe_task\ndef f(tmp_path): open(tmp_path, 'w')"),
    "a look before it": (
        "L603",
        "@safe_task(atomic=False)\ndef f():\n    if Order.objects.exists(): return\n    Order.objects.bulk_create([])",
    ),
    "a checkpoint beside it": (
        "L603",
        "@safe_task(atomic=False)\ndef f(order: Order):\n"
        "    with transaction.atomic():\n        Order.objects.bulk_create([])\n        Order.objects.update(n=5)",
    ),
    "a field that is the checkpoint": (
        "L602",
        "@safe_task(atomic=False)\ndef f(order: Order):\n"
        "    with transaction.atomic():\n        Order.objects.create()\n        order.n += 1\n        order.save()",
    ),
    "what was read, in the cache": (
        "L106",
        "@safe_task\ndef f(order: Order):\n    cache.set('a', order.total)\n    order.save()",
    ),
    "what was read, in another cache": (
        "L106",
        "@safe_task\ndef f(order: Order): caches['a'].set('a', order.total)",
    ),
    "a write elsewhere that may be repeated": (
        "L504",
        "@safe_task\ndef f(): Order.objects.using('other').update_or_create(number=1)",
    ),
    "a query that is posted": (
        "L101",
        "@safe_task\ndef f(): requests.post('x', json={'query': '{ rates { code } }'})",
    ),
    "a search that is posted": ("L101", "@safe_task\ndef f(): requests.post('https://x/orders/_search', json={})"),
    "rows that are chosen": (
        "L603",
        "@safe_task(atomic=False)\ndef f(ns, known):\n"
        "    Order.objects.bulk_create([Order(n=n) for n in ns if n not in known])",
    ),
    "rows that are chosen one by one": (
        "L603",
        "@safe_task(atomic=False)\ndef f(ns, known):\n    new = []\n    for n in ns:\n"
        "        if n not in known: new.append(Order(n=n))\n    Order.objects.bulk_create(new)",
    ),
    "a cache in a body that writes nothing": (
        "L106",
        "@safe_task\ndef f(key): cache.set(key, True)",
    ),
    "a file that the body made": (
        "L105",
        "@safe_task\ndef f(order: Order):\n    path = order.download()\n    os.remove(path)",
    ),
    "a key that may be there already": (
        "L107",
        "@safe_task\ndef f(p, order: Order):\n    p.pay(idempotency_key=order.key or uuid.uuid4().hex)",
    ),
    "calls for chunks": (
        "L201",
        "@safe_task\ndef f(pks):\n    for at in range(0, len(pks), 500): remind.delay(pks[at : at + 500])",
    ),
    "a folder that is left again": (
        "L404",
        "@safe_task\ndef f(to, back):\n    os.chdir(to)\n    try: print(1)\n    finally: os.chdir(back)",
    ),
    "a lock in a block of another kind": (
        "L505",
        "@safe_task(atomic=False)\ndef f(order):\n    with order.locked(): Order.objects.select_for_update().get()",
    ),
    "a counter behind a marker": (
        "L602",
        "@safe_task(atomic=False)\ndef f(order):\n    if order.done: return\n    order.n += 1\n    order.done = True\n"
        "    order.save()",
    ),
    "a counter of rows that are asked for by a marker": (
        "L602",
        "@safe_task(atomic=False)\ndef f():\n    for order in Order.objects.filter(done=False):\n        order.n += 1\n"
        "        order.done = True\n        order.save()",
    ),
    "rows that are deleted first": (
        "L603",
        "@safe_task(atomic=False)\ndef f():\n    Order.objects.filter(n=1).delete()\n    Order.objects.bulk_create([])",
    ),
    "atomic from elsewhere": ("L301", "@safe_task(atomic=ATOMIC)\ndef f(): time.sleep(1)"),
    "options from elsewhere": ("L301", "@safe_task(**OPTIONS)\ndef f(): time.sleep(1)"),
}


@pytest.fixture
def said(tmp_path: Path):
    def of(code: str) -> list[tuple[str, bool]]:
        path = tmp_path / "tasks.py"
        path.write_text(START + code)
        return [(one.id, one.certain) for one in lint([path])]

    return of


@pytest.mark.parametrize(("name", "code"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_found_however_it_is_written(name, code, said):
    assert said(code) == [(name, True)]


@pytest.mark.parametrize("code", HARMLESS.values(), ids=HARMLESS)
def test_what_only_looks_like_a_fault_is_not_mentioned(code, said):
    assert said(code) == []


@pytest.mark.parametrize(("name", "code"), UNSURE.values(), ids=UNSURE)
def test_what_the_source_does_not_show_cannot_be_told(name, code, said):
    assert said(code) == [(name, False)]


@pytest.mark.parametrize(("task_cls", "ids"), [("django_task_safety:SafeTask", ["L301"]), ("celery:Task", [])])
def test_a_shared_task_is_read_where_the_apps_tasks_are_safe(monkeypatch, tmp_path, task_cls, ids):
    monkeypatch.setattr(task, "current_app", Celery(task_cls=task_cls, set_as_current=False))
    path = tmp_path / "tasks.py"
    path.write_text(START + SHARED)
    assert [one.id for one in lint([path])] == ids
