"""Cases beside the documented ones: ways to write a fault, and what only looks like one."""

from pathlib import Path

import pytest
from celery import Celery

from django_task_safety.linting import task
from django_task_safety.linting.report import lint

START = """
import os, requests, time, uuid
from functools import partial
from pathlib import Path
from celery import group
from celery.result import AsyncResult
from django.core.cache import cache, caches
from django.core.files.base import ContentFile
from django.core.mail import EmailMessage, send_mail
from django.db import IntegrityError, transaction
from django.db.models import F
import django_task_safety as ts
from django_task_safety import SafeTask, current_operation, idempotent_task, safe_task, track
from orders.models import Order
from orders.tasks import remind
KEPT = {}
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
    "a list of a queryset": "@safe_task\ndef f(): return list(Order.objects.all())",
    "a retry that ends the body": "@safe_task(bind=True)\ndef f(self):\n    self.retry(throw=False)\n    return 1",
    "a savepoint": "@safe_task\ndef f():\n    try:\n        with transaction.atomic(): Order.objects.create()\n"
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
