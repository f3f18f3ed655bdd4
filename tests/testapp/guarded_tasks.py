"""Tasks on objects, with each of the three policies, and with a lock."""

from django_task_safety import CANCEL, KEEP, PROTECT, idempotent_task, safe_task
from tests.testapp.models import Folder


@safe_task
def cancelled_with(obj, *more):
    return str(obj)


@safe_task(on_delete=PROTECT)
def protects(obj, *more):
    return str(obj)


@safe_task(on_delete=KEEP)
def keeps(obj, *more):
    return str(obj)


@safe_task(lock="copy")
def copies(obj, *more):
    return str(obj)


@idempotent_task(key="number", lock="copy", rerun="always")
def numbered(obj, number):
    return number


@safe_task(on_delete=CANCEL)
def deletes(obj):
    obj.delete()
    return "deleted"


@safe_task(lock="copy", retry_on=ValueError, max_retries=1)
def fails_locked(obj):
    raise ValueError("no")


@safe_task(lock="copy")
def renames(obj):
    obj.name = "renamed"
    obj.save()


#: What happens while a body runs.
DURING_BODY = []


@safe_task
def runs_actions(obj):
    for action in DURING_BODY:
        action()
    Folder.objects.create(name="effect")


@safe_task
def touches(obj):
    type(obj).objects.filter(pk=obj.pk).update(title="touched")
    for action in DURING_BODY:
        action()


@safe_task(on_delete=CANCEL, max_retries=3, retry_on=RuntimeError)
def deletes_and_fails(obj):
    obj.delete()
    raise RuntimeError("after the delete")
