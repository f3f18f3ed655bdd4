"""The interface is translated whole, and what is compiled is what was written."""

import pytest
from django.utils import translation

from django_task_safety import presentation
from django_task_safety.record import State
from tests import translating

pytestmark = pytest.mark.parametrize("path", translating.CATALOGUES, ids=lambda path: path.parent.parent.name)


def test_a_catalogue_has_each_text_of_the_interface_and_no_other(path):
    wanted = {(message.context, message.id) for message in translating.template() if message.id}
    found = {(message.context, message.id) for message in translating.read(path) if message.id}
    assert len(wanted) > 100
    assert found == wanted


def test_each_text_is_translated_with_the_same_placeholders(path):
    wrong = []
    for message in translating.read(path):
        texts = message.string if isinstance(message.string, tuple) else (message.string,)
        if message.id and (message.fuzzy or not all(texts) or list(message.check())):
            wrong.append(message.id)
    assert wrong == []


def test_what_is_compiled_is_what_was_written(path):
    assert path.with_suffix(".mo").read_bytes() == translating.compiled(translating.read(path))


def test_people_read_it_in_their_language(path):
    assert path.parent.parent.name == "de"
    with translation.override("de"):
        assert str(State.FAILED.label) == "fehlgeschlagen"
        assert presentation.in_words(None) == ""
        assert translation.gettext("No worker is running.") == "Es läuft kein Worker."
