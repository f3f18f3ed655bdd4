"""Who asked for something, as text: a user's primary key."""

from typing import Any

from django_task_safety.texts import storable


def text_of_user(user: Any) -> str:
    """Return the primary key of a user, or what is one, as text; "" for nobody, an anonymous user among them."""
    key = getattr(user, "pk", user)
    return "" if key is None else storable(str(key))[:255]
