"""``migrate django_task_safety zero`` drops the operations; not while some of them are pending."""

from collections import Counter
from typing import Any

from django_task_safety.errors import OperationsPending
from django_task_safety.models import Operation

#: So many pending operations are looked at, and so many of their tasks are named.
_LIMIT, _NAMED = 10_000, 10


def refuse_while_pending(app_config: Any, using: str, plan: Any = (), **kwargs: Any) -> None:
    """Keep a migration from dropping pending operations; receiver of Django's ``pre_migrate``.

    Raises:
        OperationsPending: If there are any in the database ``using``.
    """
    drops = any(
        backwards and migration.app_label == app_config.label and migration.name == "0001_initial"
        for migration, backwards in plan or ()
    )
    if drops and (found := _pending(using)):
        raise OperationsPending(_text(found, using))


def _pending(using: str) -> list[tuple[str, str]]:
    return list(Operation.all_rows.using(using).pending().order_by().values_list("task", "state")[:_LIMIT])


def _text(found: list[tuple[str, str]], using: str) -> str:
    number = f"{len(found):,}" + (" or more" if len(found) == _LIMIT else "")
    counts = Counter(found).most_common()
    named = ", ".join(f"{task} ({count:,} {state})" for (task, state), count in counts[:_NAMED])
    rest = ", and others" if len(counts) > _NAMED else ""
    return (
        f"The database {using!r} holds {number} pending operations, which would be lost: {named}{rest}. Let workers "
        "finish them (manage.py task_safety drain), or cancel them (manage.py task_safety cancel --state queued "
        "--state running), and migrate again."
    )
