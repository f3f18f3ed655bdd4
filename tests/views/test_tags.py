"""The template tags, in a project's own pages."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.template import Context, RequestContext, Template
from django.test import Client, RequestFactory

from django_task_safety import InvalidArguments, safe_task
from django_task_safety.models import Operation
from django_task_safety.templatetags import task_safety
from tests.support import people
from tests.support.factories import PageFactory
from tests.testapp.models import Page


@safe_task(title="Print {page}")
def print_page(page: Page, copies: int = 1) -> None: ...


@pytest.fixture
def ada(db):
    return people.user("ada")


@pytest.fixture
def page(db) -> Page:
    return PageFactory(title="<b>Plans</b>")


@pytest.fixture
def operation(ada, page) -> Operation:
    return print_page.options(requested_by=ada).enqueue(page)


def rendered(tag: str, user: Any = None, **context: Any) -> str:
    """Return what a tag makes, in a page that a user asked for, or in none."""
    template = Template("{% load task_safety %}{% " + tag + " %}")
    if user is None:
        return template.render(Context(context))
    request = RequestFactory().get("/pages/5/?tab=work")
    request.user = user
    return template.render(RequestContext(request, context))


def live_address(html: str) -> str:
    return re.search(r'data-live="([^"]+)"', html)[1].replace("&amp;", "&")


def test_progress_is_shown_in_words_and_as_a_bar_that_has_a_name(ada, operation):
    operation.state, operation.progress, operation.progress_message = "running", 0.4, "page 2 of 5"
    html = rendered("operation_progress operation", ada, operation=operation)
    name = "Progress of Print &lt;b&gt;Plans&lt;/b&gt;"
    assert f'<progress class="ts-bar" max="100" value="40" aria-label="{name}">' in html
    assert 'aria-hidden="true">▶</span> running' in html
    assert 'aria-live="polite"' in html
    assert "page 2 of 5" in html
    assert "<b>" not in html


def test_who_asked_for_it_follows_it_by_its_own_address(ada, operation):
    html = rendered("operation_progress operation", ada, operation=operation)
    assert live_address(html) == operation.status_url()
    assert html.count("<script") == 1


def test_what_a_page_shows_to_others_they_can_follow_and_no_more(operation):
    for user in (AnonymousUser(), people.user("eve"), None):
        html = rendered("operation_progress operation", user, operation=operation)
        address = live_address(html)
        assert Client().get(address).status_code == 200
        assert Client().post(address.replace("/?", "/cancel/?")).status_code == 404
        assert "<button" not in html


def test_the_button_belongs_to_a_form_outside_of_the_region_and_leads_back_to_the_page(ada, operation):
    html = rendered("operation_progress operation", ada, operation=operation)
    region, _, after = html.partition("</section>")
    assert f'form="ts-cancel-{operation.pk}"' in region
    assert "<form" not in region
    assert "csrfmiddlewaretoken" not in region
    assert f'<form id="ts-cancel-{operation.pk}" method="post"' in after
    assert "csrfmiddlewaretoken" in after
    assert '<input type="hidden" name="next" value="/pages/5/?tab=work">' in after


def test_what_has_ended_is_not_asked_for_again(ada, operation):
    operation.cancel()
    html = rendered("operation_progress operation", ada, operation=Operation.objects.get())
    assert "cancelled" in html
    assert "This was cancelled." in html
    assert not {"<script", "data-live", "<progress", "<button"} & set(re.findall(r"<\w+|data-live", html))


@pytest.mark.parametrize("tag", ["operation_progress operation", "operations_of page"])
def test_nothing_is_shown_where_there_is_nothing(db, tag):
    assert rendered(tag).strip() == ""
    assert rendered(tag, operation=None, page=Page()).strip() == ""


@pytest.mark.parametrize("tag", ["operation_progress thing", "operations_of thing"])
def test_what_is_no_operation_or_object_is_an_error_that_says_so(db, tag):
    with pytest.raises(InvalidArguments):
        rendered(tag, thing=5)


def test_an_object_shows_what_is_pending_on_it(ada, page, operation):
    print_page.options(requested_by=ada).enqueue(PageFactory(title="Other"))
    print_page.options(requested_by=ada).enqueue(page).cancel()
    html = rendered("operations_of page", ada, page=page)
    assert html.count("Print &lt;b&gt;Plans") == html.count("&lt;b&gt;Plans") >= 1
    assert html.count("data-live=") == 1
    assert str(operation.pk) in html


def test_of_other_peoples_operations_an_object_shows_the_state_alone(page, operation):
    html = rendered("operations_of page", people.user("eve"), page=page)
    assert "waiting" in html
    assert "Plans" not in html
    assert str(operation.pk) not in html
    assert "Plans" in rendered("operations_of page", people.staff("sam", "view_operation"), page=page)
    assert "Plans" in rendered("operations_of page", page=page)


def test_an_object_shows_only_so_many_operations_by_one_query(ada, page, django_assert_num_queries):
    print_page.options(requested_by=ada).enqueue_many([(page, n) for n in range(task_safety.SHOWN + 5)])
    with django_assert_num_queries(1):
        html = rendered("operations_of page", ada, page=page)
    assert html.count("data-live=") == task_safety.SHOWN
    assert "And more." in html


def test_a_project_without_the_pages_sees_the_state_all_the_same(ada, operation, settings):
    settings.ROOT_URLCONF = "tests.support.no_urls"
    html = rendered("operation_progress operation", ada, operation=operation)
    assert "waiting" in html
    assert not {"data-live", "<a", "<button", "<form", "<script"} & set(re.findall(r"<\w+|data-live", html))


def test_the_script_carries_the_nonce_of_the_policy(ada, operation):
    html = rendered("operation_progress operation", ada, operation=operation, csp_nonce="abc123")
    assert '<script src="/static/django_task_safety/live.js" defer nonce="abc123"></script>' in html


def test_the_script_uses_djangos_nonce_that_nobody_has_used_yet(ada, operation):
    csp = pytest.importorskip("django.utils.csp", reason="Django 6 has it")
    nonce = csp.LazyNonce()
    html = rendered("operation_progress operation", ada, operation=operation, csp_nonce=nonce)
    assert f'nonce="{nonce}"' in html
    assert len(str(nonce)) > 10
