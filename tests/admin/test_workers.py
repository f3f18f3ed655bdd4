"""Workers and queues in the admin."""

import pytest
from django.contrib.admin.utils import quote
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_task_safety import overview as overviews
from django_task_safety.models import Worker
from tests.support.delivering import statements
from tests.support.rows import operation

pytestmark = pytest.mark.django_db
LIST = reverse("admin:django_task_safety_worker_changelist")
LIVE = f"{LIST}live/"


def a_worker(**values) -> Worker:
    now = timezone.now()
    named = {"identity": "w@host 1", "name": "w@host", "host": "host", "pool": "prefork", "concurrency": 4}
    versions = {"package": "0", "celery": "0", "django": "0", "settings": "x"}
    seen = {"started_at": now, "last_seen": now}
    return Worker.objects.create(**{**named, **versions, **seen, "queues": ["quick"], **values})


def text(response) -> str:
    assert response.status_code == 200, response
    return response.content.decode()


def test_workers_queues_and_problems_are_shown(admin_client):
    a_worker(name="<b>w</b>")
    operation(queue="slow", age=100)
    shown = text(admin_client.get(LIST))
    assert "No worker listens to the queue “slow”." in shown
    assert "&lt;b&gt;w&lt;/b&gt;" in shown
    assert "prefork" in shown
    assert "It runs django-task-safety 0" in shown
    assert "?state=queued&amp;queue=slow" in shown


def test_what_is_counted_no_further_says_so(admin_client, monkeypatch):
    monkeypatch.setattr(overviews, "COUNT", 2)
    for _ in range(3):
        operation(age=1000)
    assert text(admin_client.get(LIST)).count(">2+</a>") == 2  # queued, and stuck


def test_there_may_be_nothing_to_show(admin_client):
    assert "No worker is running." in text(admin_client.get(LIST))


def test_the_page_of_an_operation_leads_to_its_worker_and_says_why_it_does_not_move(admin_client):
    worker = a_worker()
    made = operation("running", worker=worker.identity, started_at=timezone.now(), due_at=timezone.now())
    shown = text(admin_client.get(reverse("admin:django_task_safety_operation_change", args=[made.pk])))
    assert "has not renewed its lease" in shown or "Nobody sweeps" in shown
    assert f'href="{reverse("admin:django_task_safety_worker_change", args=[quote(worker.identity)])}"' in shown


def test_a_worker_has_a_page_that_nobody_edits(admin_client):
    url = reverse("admin:django_task_safety_worker_change", args=[quote(a_worker().identity)])
    page = text(admin_client.get(url))
    assert "prefork" in page
    assert 'name="_save"' not in page
    assert admin_client.post(url, {"name": "x"}).status_code == 403


@pytest.mark.parametrize("url", [LIST, LIVE])
@pytest.mark.parametrize("method", ["get", "post"])
def test_workers_are_for_those_with_permission(staff, method, url, django_user_model):
    plain = Client()
    plain.force_login(django_user_model.objects.create_user("nobody"))
    for client, status in ((Client(), 302), (plain, 302), (staff("view_operation"), 403)):
        assert getattr(client, method)(url).status_code == status
    assert staff("view_worker").get(url).status_code == 200


def test_what_is_shown_is_answered_alone_with_an_etag_and_when_to_look_again(admin_client):
    assert f'data-live="{LIVE}"' in text(admin_client.get(LIST))
    worker = a_worker()
    with statements() as whole:
        admin_client.get(LIST)
    with statements() as sent:
        answer = admin_client.get(LIVE)
    assert len(sent) == len(whole)
    assert worker.name in text(answer)
    assert "<html" not in text(answer)
    assert answer["Retry-After"] == "5"
    assert admin_client.get(LIVE, headers={"If-None-Match": answer["ETag"]}).status_code == 304
    operation(queue="slow")
    assert "slow" in text(admin_client.get(LIVE, headers={"If-None-Match": answer["ETag"]}))


def test_a_worker_s_name_leads_to_its_page(admin_client):
    worker = a_worker()
    url = reverse("admin:django_task_safety_worker_change", args=[quote(worker.identity)])
    assert f'<a href="{url}">{worker.name}</a>' in text(admin_client.get(LIST))
