"""Each address, each kind of visitor, each method: who gets what, and that all others get the same."""

import itertools
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

import pytest
from django.core.signing import Signer
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from django_task_safety import InvalidArguments, safe_task
from django_task_safety.errors import UrlsNotIncluded
from django_task_safety.models import Operation
from tests.support import people
from tests.support.operations import state

FORMATS = {
    "json": {},
    "page": {"Accept": "text/html"},
    "region": {"Accept": "text/html", "X-Requested-With": "task-safety-live"},
}
METHODS = ["get", "head", "post", "put", "patch", "delete"]
FOUND, MISSING, WRONG_METHOD, MOVED = 200, 404, 405, 302


@safe_task
def work() -> None: ...


class Visit(NamedTuple):
    """Somebody who comes to an address of an operation."""

    client: Client
    operation: Operation
    #: What the address says besides.
    link: str = ""

    def ask(self, method: str, name: str, pk: uuid.UUID | None = None, **headers: str) -> HttpResponse:
        path = reverse(f"task_safety:{name}", args=[] if name == "mine" else [pk or self.operation.pk])
        return getattr(self.client, method)(path + self.link, headers=headers)


def logged_in(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def link(operation: Operation, **options) -> str:
    return "?" + operation.status_url(signed=True, **options).partition("?")[2]


def expired(operation: Operation) -> str:
    signer = Signer(sep=".", salt="django_task_safety.status_links")
    return "?link=" + signer.sign(f"{operation.pk}.1000000000.cancel").removeprefix(f"{operation.pk}.")


VISITORS: dict[str, Callable[[Operation], Visit]] = {
    "anonymous": lambda one: Visit(Client(), one),
    "stranger": lambda one: Visit(logged_in(people.user("eve")), one),
    "owner": lambda one: Visit(logged_in(people.user("ada")), one),
    "staff without permission": lambda one: Visit(logged_in(people.staff("sam")), one),
    "staff who may view": lambda one: Visit(logged_in(people.staff("sam", "view_operation")), one),
    "staff who may cancel": lambda one: Visit(logged_in(people.staff("sam", "cancel_operation")), one),
    "staff who may retry": lambda one: Visit(logged_in(people.staff("sam", "retry_operation")), one),
    "superuser": lambda one: Visit(logged_in(people.superuser("root")), one),
    "signed": lambda one: Visit(Client(), one, link(one)),
    "signed to cancel": lambda one: Visit(Client(), one, link(one, can_cancel=True)),
    "expired": lambda one: Visit(Client(), one, expired(one)),
    "forged": lambda one: Visit(Client(), one, link(one)[:-1] + "x"),
    "forged to cancel": lambda one: Visit(Client(), one, link(one).replace(".see.", ".cancel.")),
    "forged to last": lambda one: Visit(Client(), one, link(one).replace("link=", "link=9")),
    "foreign link": lambda one: Visit(Client(), one, link(work.enqueue(), can_cancel=True)),
    "no link at all": lambda one: Visit(Client(), one, "?link=%00..é"),
}
SEE = {"owner", "staff who may view", "staff who may cancel", "superuser", "signed", "signed to cancel"}
CANCEL = {"owner", "staff who may cancel", "superuser", "signed to cancel"}
LOGGED_IN = {"stranger", "owner", "superuser", *(name for name in VISITORS if name.startswith("staff"))}


@pytest.fixture
def visit(db) -> Callable[[str], Visit]:
    """Have somebody come to an operation for which ada asked."""

    def come(visitor: str) -> Visit:
        return VISITORS[visitor](work.options(requested_by=people.user("ada")).enqueue())

    return come


def expected(visitor: str, method: str, name: str, wanted: str) -> int:
    if (method in ("get", "head")) == (name == "cancel") or method in ("put", "patch", "delete"):
        return WRONG_METHOD
    if name == "cancel":
        return (FOUND if wanted == "json" else MOVED) if visitor in CANCEL else MISSING
    return FOUND if visitor in (LOGGED_IN if name == "mine" else SEE) else MISSING


@pytest.mark.parametrize("name", ["operation", "cancel", "mine"])
@pytest.mark.parametrize("visitor", VISITORS)
def test_who_gets_what_where(visit, visitor, name):
    got, due = {}, {}
    visited = visit(visitor)
    for method, wanted in itertools.product(METHODS, FORMATS):
        answer = visited.ask(method, name, **FORMATS[wanted])
        cancelled = name == "cancel" and answer.status_code in (FOUND, MOVED)
        got[method, wanted] = answer.status_code, state(visited.operation)
        due[method, wanted] = expected(visitor, method, name, wanted), "cancelled" if cancelled else "queued"
        if cancelled:
            visited.operation.retry()
    assert got == due


@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
@pytest.mark.parametrize("wanted", FORMATS)
@pytest.mark.parametrize(("method", "name"), [("get", "operation"), ("post", "cancel")])
@pytest.mark.parametrize("visitor", [name for name in VISITORS if name not in SEE])
def test_what_may_not_be_seen_is_to_the_byte_like_what_is_not_there(
    visit, visitor, method, name, wanted, debug, settings
):
    settings.DEBUG = debug
    visited = visit(visitor)
    forbidden = visited.ask(method, name, **FORMATS[wanted])
    unknown = visited.ask(method, name, uuid.UUID(int=visited.operation.pk.int ^ 1), **FORMATS[wanted])
    assert forbidden.status_code == unknown.status_code == MISSING
    assert forbidden.headers == unknown.headers
    assert forbidden.cookies == unknown.cookies
    pk = str(visited.operation.pk)
    other = str(uuid.UUID(int=visited.operation.pk.int ^ 1))
    assert forbidden.content.replace(pk.encode(), b"") == unknown.content.replace(other.encode(), b"")
    if wanted == "json":
        assert forbidden.json() == {"detail": "Not found."}


def test_who_may_see_but_not_cancel_is_offered_no_button(visit):
    for visitor in sorted(SEE - CANCEL):
        visited = visit(visitor)
        assert visited.ask("get", "operation").json()["can_cancel"] is False
        assert "<button" not in visited.ask("get", "operation", **FORMATS["page"]).content.decode()


def test_who_came_by_a_link_goes_on_by_it(visit):
    visited = visit("signed to cancel")
    links = visited.ask("get", "operation").json()["links"]
    assert links["self"].endswith(visited.link)
    assert visited.client.get(links["self"]).status_code == FOUND
    assert visited.client.post(links["cancel"]).json()["state"] == "cancelled"


def test_a_link_is_good_until_it_expires_and_no_longer(visit, monkeypatch):
    visited = visit("anonymous")
    path = visited.operation.status_url(signed=True, max_age=timedelta(minutes=5))
    now = time.time()
    monkeypatch.setattr("django_task_safety.values.status_links.time.time", lambda: now + 299)
    assert visited.client.get(path).status_code == FOUND
    monkeypatch.setattr("django_task_safety.values.status_links.time.time", lambda: now + 302)
    assert visited.client.get(path).status_code == MISSING


@pytest.mark.parametrize("max_age", [0, -1, "an hour", None, True, float("nan"), float("inf"), 1e12])
def test_a_link_lasts_for_a_positive_time(max_age):
    with pytest.raises(InvalidArguments, match="max_age"):
        Operation().status_url(signed=True, max_age=max_age)


def test_a_plain_address_cannot_allow_to_cancel():
    with pytest.raises(InvalidArguments, match="signed=True"):
        Operation().status_url(can_cancel=True)


def test_a_project_without_the_pages_is_told_how_to_get_them(settings):
    settings.ROOT_URLCONF = "tests.support.no_urls"
    with pytest.raises(UrlsNotIncluded, match=r"include\('django_task_safety.urls'\)"):
        Operation().status_url()


def test_nobody_in_particular_is_no_owner_of_what_nobody_asked_for(db):
    operation = work.enqueue()
    assert operation.requested_by == ""
    assert Visit(Client(), operation).ask("get", "operation").status_code == MISSING


def test_a_permission_counts_for_the_staff_alone(db):
    user = people.staff("sam", "view_operation", "cancel_operation")
    user.is_staff = False
    user.save()
    assert Visit(logged_in(user), work.enqueue()).ask("get", "operation").status_code == MISSING


def test_a_site_without_users_has_its_links(db, settings):
    settings.MIDDLEWARE = ["django.middleware.csrf.CsrfViewMiddleware"]
    operation = work.enqueue()
    assert Client().get(operation.status_url()).status_code == MISSING
    assert Client().get(operation.status_url(signed=True)).status_code == FOUND


# The project's own rule.


def for_friends(request, operation):
    return request.headers.get("X-Friend") == "yes"


def broken(request, operation):
    raise ZeroDivisionError("in the rule")


async def asynchronous(request, operation):
    return True


def test_the_project_may_let_others_see(visit, settings):
    settings.TASK_SAFETY = {"STATUS_PERMISSION": f"{__name__}.for_friends"}
    visited = visit("stranger")
    assert visited.ask("get", "operation").status_code == MISSING
    assert visited.ask("get", "operation", **{"X-Friend": "yes"}).json()["can_cancel"] is False
    assert visited.ask("post", "cancel", **{"X-Friend": "yes"}).status_code == MISSING


@pytest.mark.filterwarnings("ignore:coroutine")
@pytest.mark.parametrize("name", ["broken", "asynchronous", "absent"])
def test_a_rule_that_fails_or_does_not_say_yes_says_no(visit, settings, name, caplog):
    settings.TASK_SAFETY = {"STATUS_PERMISSION": f"{__name__}.{name}"}
    assert visit("stranger").ask("get", "operation").status_code == MISSING
    assert visit("owner").ask("get", "operation").status_code == FOUND
    assert ("STATUS_PERMISSION" in caplog.text) == (name != "asynchronous")


@pytest.mark.parametrize(
    ("visitor", "method", "name", "status"),
    [
        ("signed", "get", "operation", FOUND),
        ("signed to cancel", "post", "cancel", FOUND),
        ("anonymous", "get", "operation", MISSING),
        ("anonymous", "get", "mine", MISSING),
    ],
)
def test_where_everybody_has_to_log_in_our_own_rules_decide(settings, visit, visitor, method, name, status):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    assert visit(visitor).ask(method, name).status_code == status


@pytest.mark.parametrize(("name", "status"), [("health", 503), ("metrics", MISSING)])
def test_where_everybody_has_to_log_in_a_probe_does_not(settings, db, name, status):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    assert Client().get(reverse(f"task_safety:{name}")).status_code == status
