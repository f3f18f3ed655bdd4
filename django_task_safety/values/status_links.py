"""Addresses of an operation's status: plain ones, and signed ones that expire, for those who have no account.

A signed link is made for one operation: its id is part of what is signed, and stands in the path.
"""

import math
import time
from enum import StrEnum
from uuid import UUID

from django.core.signing import BadSignature, Signer
from django.urls import NoReverseMatch, reverse
from django.utils.http import urlencode

from django_task_safety.errors import UrlsNotIncluded

#: The query parameter that carries what is signed.
PARAMETER = "link"


class Grant(StrEnum):
    """What the holder of a signed link may do."""

    NOTHING = ""
    SEE = "see"
    CANCEL = "cancel"


def address(name: str, pk: UUID | None = None, link: str = "") -> str:
    """Return the path of one of the package's pages. Raises `UrlsNotIncluded` where the project has none of them."""
    try:
        path = reverse(f"task_safety:{name}", args=() if pk is None else (pk,))
    except NoReverseMatch as exc:
        raise UrlsNotIncluded(
            "The project has no status pages. Add path('operations/', include('django_task_safety.urls')) to its "
            "urlpatterns."
        ) from exc
    return f"{path}?{urlencode({PARAMETER: link})}" if link else path


def sign(pk: UUID, max_age: float, grant: Grant) -> str:
    """Return a link's text, good for ``max_age`` seconds."""
    expires = math.ceil(time.time() + max_age)
    return _signer().sign(f"{pk}.{expires}.{grant}").removeprefix(f"{pk}.")


def granted(pk: UUID, link: str) -> Grant:
    """Return what a link's text allows with that operation: nothing when it is forged, expired, or for another one."""
    try:
        _, expires, grant = _signer().unsign(f"{pk}.{link}").split(".")
        return Grant(grant) if time.time() < int(expires) else Grant.NOTHING
    except (BadSignature, ValueError):
        return Grant.NOTHING


def _signer() -> Signer:
    return Signer(sep=".", salt="django_task_safety.status_links")
