"""No page shows a text that is not marked for translation: in a language that brackets what is translated, all is."""

import html
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.apps import apps
from django.template import RequestContext, Template
from django.template.base import Lexer, TokenType
from django.test import RequestFactory
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.text import capfirst

from django_task_safety import PROTECT, ObjectLocked, safe_task
from django_task_safety.models import Operation, Queue, Worker
from django_task_safety.record import State
from django_task_safety.views import refusals
from tests.support.factories import PageFactory
from tests.support.rows import operation
from tests.testapp.models import Page
from tests.translating import PACKAGE

TEMPLATES = sorted(PACKAGE.glob("templates/**/*.html"))
ADMIN = "admin:django_task_safety_operation_"
HTML = {"Accept": "text/html"}
OUTCOMES = ("succeeded", "failed", "retried", "requeued", "cancelled")
#: Attributes that are read out or shown.
SAID = r"""<input type="submit"[^>]* value="([^"]*)|\b(?:aria-label|title|alt|placeholder)="([^"]*)"""
#: The data below; names that are the same in every language; and what Django does not translate.
NAMES = r"\b[0-9a-f]{8}-[0-9a-f-]{27}|\b(?:tests|django_task_safety|celery)\b(?:\.\S+)?|app_label\S+"
DATA = rf"Π\w*|{NAMES}|<code>\w+</code>|\b(?:Page|Title|admin|Traceback)\b|alt=\"Search\""


@safe_task(on_delete=PROTECT, title="Π{page}")
def prints(page: Page) -> None: ...


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(PACKAGE / "templates")))
def test_a_template_has_no_text_that_is_not_marked(path: Path):
    assert list(_unmarked(path.read_text())) == []


def _unmarked(source: str) -> Iterator[str]:
    """Yield the words of a template outside of its tags."""
    bare, marked = "", False
    for token in Lexer(source).tokenize():
        tag = token.contents if token.token_type == TokenType.BLOCK else ""
        if tag.startswith(("blocktranslate", "comment", "block bodyclass")):
            marked = True
        elif tag.startswith("end"):
            marked = False
        elif token.token_type == TokenType.TEXT and not marked:
            bare += token.contents
    yield from _words(bare)


def _words(page: str) -> Iterator[str]:
    """Yield what people read on a page, by words."""
    page = re.sub(r"<(style|script)\b.*?</\1>|<!--.*?-->", " ", page, flags=re.DOTALL)
    said = " ".join(map("".join, re.findall(SAID, page)))
    yield from re.findall(r"[^\W\d_]{2,}", html.unescape(re.sub(r"<[^>]*>", " ", page) + " " + said))


@pytest.fixture
def bracketed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each translated text stand in brackets."""
    whole = translation._trans
    whole.gettext("")
    monkeypatch.setattr(whole, "gettext", lambda text: f"⟦{text}⟧")
    monkeypatch.setattr(whole, "pgettext", lambda context, text: f"⟦{text}⟧")
    monkeypatch.setattr(whole, "ngettext", lambda one, many, number: f"⟦{one if number == 1 else many}⟧")
    monkeypatch.setattr(whole, "npgettext", lambda context, one, many, n: f"⟦{one if n == 1 else many}⟧")


MODELS = "|".join(
    {capfirst(model._meta.verbose_name) for model in apps.get_models() if model.__module__[:5] == "tests"}
)


def outside(page: str) -> list[str]:
    """Return the words of a page that are neither translated nor data."""
    # Texts with others in them: from the innermost outwards.
    while (less := re.sub(r"⟦[^⟦⟧]*⟧", " ", page)) != page:
        page = less
    assert "⟦" not in page
    return list(_words(re.sub(rf"{DATA}|\b(?:{MODELS})\b", " ", page)))


@pytest.fixture
def failed(admin_user) -> Operation:
    """One to which all has happened, of which there is something to say."""
    prints.options(requested_by=admin_user).enqueue(PageFactory(title="Πpage"))
    made = Operation.objects.get()
    now = timezone.now().isoformat()
    lines = [["a", n, "Πworker", now, now, outcome, "Πerror"] for n, outcome in enumerate(OUTCOMES, 1)]
    lines += [["e", now, what, str(admin_user.pk), "Πwhy"] for what in ("cancel", "retry", "rerun")]
    history = "".join(json.dumps(line) + "\n" for line in lines)
    values = {"state": State.FAILED, "error": "Πerror", "ended_at": timezone.now(), "traceback": "Traceback"}
    Operation.objects.filter(pk=made.pk).update(history=history, attempt=7, worker="Πworker", queue="Πq", **values)
    return made


@pytest.fixture
def pages(admin_user, failed) -> list[str]:
    """Addresses of the pages, with something of everything on them."""
    for n, state in enumerate(State):
        operation(state, 3600, title=f"Π{n}", queue="Πq", requested_by=str(admin_user.pk), progress=0.5)
    about = {"subject_label": "testapp.page", "subject_id": "1", "subject_database": "default"}
    queued = operation("queued", 3600, title="Π", on_delete="protect", **about, queue="Πq")
    named = {"package": "0", "celery": "0", "django": "0", "settings": "x", "host": "Πhost", "pool": "Πpool"}
    named |= {"concurrency": 1, "started_at": timezone.now(), "queues": ["Πq"]}
    for n, seen in enumerate([timezone.now(), timezone.now() - timedelta(hours=2)]):
        Worker.objects.create(identity=f"w{n}", name=f"Πw{n}", last_seen=seen, **named)
    Queue.objects.create(name="Πq", measured_at=timezone.now(), latency_p50=1.0, latency_p95=2.0)
    page = Page.objects.get()
    Operation.objects.filter(pk=queued.pk).update(subject_id=str(page.pk))
    return [
        *(reverse(f"{ADMIN}changelist") + query for query in ("", "?stuck=yes", "?task=x", "?q=1&state=failed")),
        *(reverse(f"{ADMIN}{name}", args=[failed.pk]) for name in ("change", "cancel", "retry", "rerun")),
        *(reverse(f"{ADMIN}change", args=[one.pk]) for one in Operation.objects.all()),
        reverse("admin:django_task_safety_worker_changelist"),
        *(reverse(f"admin:testapp_page_{name}", args=[page.pk]) for name in ("change", "delete")),
        reverse("task_safety:mine"),
        *(reverse("task_safety:operation", args=[one.pk]) for one in Operation.objects.all()),
    ]


def test_no_page_shows_a_text_that_is_not_translated(bracketed, admin_client, pages):
    untranslated = {}
    for address in pages:
        answer = admin_client.get(address, headers=HTML)
        assert answer.status_code == 200, address
        content = answer.content.decode()
        assert "⟦" in content
        main = content[max(content.find('<div id="content"'), 0) :]
        if found := outside(main):
            untranslated[address] = found
    assert untranslated == {}


def test_no_message_of_an_action_is_left_untranslated(bracketed, admin_client, pages):
    ticked = {"_selected_action": [str(one.pk) for one in Operation.objects.all()], "post": "yes"}
    for action in ("cancel", "retry", "rerun"):
        answer = admin_client.post(
            reverse(f"{ADMIN}changelist"), {**ticked, "action": f"{action}_selected"}, follow=True
        )
        said = [str(message) for message in answer.context["messages"]]
        assert len(said) > 1, action
        assert [outside(one) for one in said] == [[]] * len(said)


def test_no_refusal_and_no_part_of_a_projects_page_is_left_untranslated(bracketed, admin_user, failed):
    page = Page.objects.get()
    request = RequestFactory().get("/", headers=HTML)
    request.user = admin_user
    prints.options(requested_by=admin_user).enqueue(page)
    with pytest.raises(ObjectLocked) as refused:
        page.delete()
    parts = "{% load task_safety %}{% operations_of page %}{% operation_progress operation %}"
    told = {"page": page, "operation": failed}
    assert outside(Template(parts).render(RequestContext(request, told))) == []
    assert outside(refusals.locked(request, refused.value).content.decode()) == []
