"""The database goes away while somebody looks at a page: each of ours says so, and tells nothing else."""

import uuid

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.http import HttpResponse
from django.test import Client
from django.urls import get_resolver, path, reverse

from django_task_safety.models import Operation
from tests import urls
from tests.support import people

pytestmark = pytest.mark.django_db
PK = uuid.UUID(int=1)


def other(request):
    return HttpResponse(Operation.objects.count())


urlpatterns = [*urls.urlpatterns, path("other/", other)]


def pages() -> dict[str, str]:
    """Return the addresses of all our pages, but that for probes, which has an answer of its own."""
    found = {}
    for namespace, ours in {"admin": "django_task_safety_", "task_safety": ""}.items():
        names = [name for name in get_resolver().namespace_dict[namespace][1].reverse_dict if isinstance(name, str)]
        for name in names:
            if name.startswith(ours) and name != "health":
                found[f"{namespace}:{name}"] = _address(f"{namespace}:{name}")
    return found


def _address(name: str) -> str:
    patterns = get_resolver().namespace_dict[name.split(":")[0]][1].reverse_dict.getlist(name.split(":")[1])
    return reverse(name, args=[PK] * len(patterns[0][0][0][1]))


@pytest.fixture
def client(settings) -> Client:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django_task_safety.middleware.TaskSafetyMiddleware"]
    client = Client()
    client.force_login(people.superuser("root"))
    return client


@pytest.fixture(params=[OperationalError, InterfaceError])
def down(request):
    def refuse(*args):
        raise request.param("connection to secret-host refused")

    with connection.execute_wrapper(refuse):
        yield


@pytest.mark.parametrize("method", ["get", "post"])
def test_each_page_answers_503_and_says_when_to_come_back(client, down, method, caplog):
    found = pages()
    assert {"admin:django_task_safety_operation_change", "admin:django_task_safety_worker_changelist"} <= found.keys()
    assert {"task_safety:operation", "task_safety:mine", "task_safety:cancel", "task_safety:metrics"} <= found.keys()
    for name, url in found.items():
        for accept in ("text/html", "application/json"):
            caplog.clear()
            answer = getattr(client, method)(url, headers={"Accept": accept})
            if answer.status_code == 405:  # by which nothing was looked at
                continue
            assert (answer.status_code, answer["Content-Type"].split(";")[0]) == (503, accept), name
            assert answer["Retry-After"] == "10"
            assert "no-cache" in answer["Cache-Control"]
            assert "not available at the moment" in answer.content.decode()
            assert "secret-host" not in answer.content.decode()
            assert "secret-host" in caplog.text


def test_what_is_asked_of_the_project_s_own_pages_is_the_project_s(client, down, settings):
    client.raise_request_exception = False
    answer = client.get("/other/")
    assert answer.status_code == 500
    assert "Retry-After" not in answer
    assert "secret-host" not in answer.content.decode()


def test_a_transaction_around_each_request_changes_nothing(client, monkeypatch):
    def refuse(*args):
        raise OperationalError("secret-host")

    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    monkeypatch.setattr(connection, "savepoint", refuse)
    assert client.get(reverse("task_safety:mine")).status_code == 503
