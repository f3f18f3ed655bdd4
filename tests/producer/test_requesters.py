"""Who asked for an operation."""

import asyncio

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpResponse
from django.test import RequestFactory
from django.utils.functional import SimpleLazyObject

from django_task_safety import current_operation, idempotent_task, requested_by, safe_task
from django_task_safety.middleware import TaskSafetyMiddleware
from django_task_safety.models import Operation
from tests.support.delivering import statements
from tests.support.operations import only


@safe_task
def inner() -> str:
    return current_operation().requested_by


@safe_task
def outer() -> None:
    inner.delay()
    with requested_by(None):
        inner.delay()


@idempotent_task(key="key", on_duplicate="replace")
def put(key: str, value: int) -> None: ...


@pytest.fixture
def user(db):
    return User.objects.create(username="ada")


def askers() -> list[str]:
    return list(Operation.objects.order_by("pk").values_list("requested_by", flat=True))


def test_nobody_is_known_where_nobody_is_said(worker):
    assert inner.enqueue().requested_by == ""


@pytest.mark.parametrize(("key", "kept"), [("a\0b", "a\\x00b"), ("a\ud800b", "a\\ud800b")], ids=["NUL", "surrogate"])
def test_a_key_that_no_row_can_hold_is_kept_and_found_escaped(worker, key, kept):
    with requested_by(key):
        operation = inner.enqueue()
    assert Operation.objects.requested_by(key).get() == operation
    assert Operation.objects.get().requested_by == kept


def test_a_block_says_who_asks(worker, user):
    with requested_by(user):
        inner.delay()
        with requested_by(str(user.pk)):
            inner.enqueue()
        inner.enqueue_many([(), ()])
    inner.delay()
    assert sorted(askers()) == ["", *[str(user.pk)] * 4]
    assert Operation.objects.requested_by(user).count() == 4
    assert Operation.objects.requested_by(user.pk).count() == 4
    assert Operation.objects.requested_by(None).count() == 0
    assert Operation.objects.requested_by(AnonymousUser()).count() == 0


@pytest.mark.parametrize("call", ["delay", "apply_async", "enqueue"])
def test_a_call_says_who_asks(worker, user, call):
    getattr(inner.options(requested_by=user), call)()
    inner.options(requested_by=user.pk).enqueue_many([()])
    assert askers() == [str(user.pk)] * 2


def test_a_tasks_own_calls_say_who_asked_for_the_task(worker, user):
    outer.options(requested_by=user).delay()
    worker.drain()
    assert sorted(askers()) == ["", str(user.pk), str(user.pk)]


def test_a_task_that_asks_for_more_costs_no_further_query(worker, user):
    outer.options(requested_by=user).delay()
    message = worker.take_one()
    with statements() as with_user:
        worker.deliver(message)
    outer.delay()
    # The two of the first one are not delivered yet.
    message = worker.take()[-1]
    with statements() as without:
        worker.deliver(message)
    assert len(with_user) == len(without)


def test_newer_arguments_are_whose_they_are(worker, user):
    put.enqueue("a", 1)
    put.options(requested_by=user).enqueue("a", 2)
    assert only().requested_by == str(user.pk)


def test_a_request_says_who_asks(worker, user):
    def view(request):
        inner.delay()
        return HttpResponse("done")

    request = RequestFactory().get("/")
    request.user = user
    assert TaskSafetyMiddleware(view)(request).content == b"done"
    request.user = AnonymousUser()
    TaskSafetyMiddleware(view)(request)
    del request.user
    TaskSafetyMiddleware(view)(request)
    inner.delay()
    assert sorted(askers()) == ["", "", "", str(user.pk)]


def test_an_asynchronous_request_says_who_asks(user):
    seen = []

    async def view(request):
        from django_task_safety.context import requester

        seen.append(requester())
        return HttpResponse("done")

    request = RequestFactory().get("/")
    request.user = user
    assert asyncio.run(TaskSafetyMiddleware(view)(request)).content == b"done"
    assert seen == [str(user.pk)]


def test_a_request_that_enqueues_nothing_does_not_look_at_its_user():
    request = RequestFactory().get("/")
    request.user = SimpleLazyObject(lambda: 1 / 0)
    assert TaskSafetyMiddleware(lambda request: HttpResponse("done"))(request).content == b"done"
