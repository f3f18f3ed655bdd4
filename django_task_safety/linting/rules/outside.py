"""Rules of what leaves the database, and so is neither rolled back nor done once."""

import ast
from collections.abc import Iterable, Iterator

from django_task_safety.checks.source import method
from django_task_safety.linting.expressions import (
    REPEATABLE,
    WRITES,
    changing,
    is_open,
    keyword,
    receiver,
    text_of,
    writes,
)
from django_task_safety.linting.rules.rule import Answer, Rule, Unsure
from django_task_safety.linting.task import TaskBody

_CLIENTS = ("requests.", "requests.Session().", "requests.session().", "httpx.", "httpx.Client().")
POSTS = {f"{client}{verb}" for client in _CLIENTS for verb in ("post", "patch")}
_REQUESTS = tuple(f"{client}request" for client in _CLIENTS)
MAIL = (
    *(f"django.core.mail.{name}" for name in ("send_mail", "send_mass_mail", "mail_admins", "mail_managers")),
    *(f"django.core.mail.{name}().send" for name in ("EmailMessage", "EmailMultiAlternatives")),
    "django.core.mail.get_connection().send_messages",
    *(f"smtplib.{name}().{method}" for name in ("SMTP", "SMTP_SSL") for method in ("sendmail", "send_message")),
)
_STRIPE = ("create", "capture", "confirm", "cancel", "refund", "pay")
_BOTO = ("send_message", "publish", "invoke", "send_email", "put_events", "put_record", "run_task", "send_raw_email")
_BOTO_TOKENS = ("MessageDeduplicationId", "clientToken", "ClientToken", "ClientRequestToken")
_REMOVES = ("os.remove", "os.unlink", "shutil.rmtree")
_FILES = (
    *(*_REMOVES, "os.rename", "os.replace", "shutil.move"),
    *(f"pathlib.Path().{name}" for name in ("write_text", "write_bytes", "unlink", "rename", "replace")),
    *(f"django.core.files.storage.default_storage.{name}" for name in ("save", "delete")),
)
_CACHE = ("set", "set_many", "incr", "decr", "delete", "delete_many", "clear")


def _says_key(node: ast.AST) -> bool:
    return "idempotency" in ast.unparse(node).lower()


def _keyless(body: TaskBody, call: ast.Call) -> Iterator[Answer]:
    """Yield the call if it brings no key, or that it may bring one."""
    headers = keyword(call, "headers")
    if isinstance(headers, ast.Name):
        headers = body.assigned.get(headers.id) or headers
    if _says_key(call) or (headers is not None and _says_key(headers)):
        return
    hidden = is_open(call) or _asks(call) or (headers is not None and not isinstance(headers, ast.Dict))
    yield Unsure(call) if hidden or any("idempotency" in word.lower() for word in body.words) else call


def _asks(call: ast.Call) -> bool:
    """Return whether what it sends looks like a question: a search, or a query of GraphQL."""
    url = text_of(next(iter(call.args), None)) or ""
    texts = [text_of(one.value) or "" for one in call.keywords] + [url]
    sent = keyword(call, "json")
    pairs = zip(sent.keys, sent.values, strict=True) if isinstance(sent, ast.Dict) else ()
    query = next((text_of(value) for key, value in pairs if text_of(key) == "query"), None)
    reads = query is not None and not query.lstrip().startswith("mutation")
    return reads or any(one.rstrip("/").endswith("search") for one in texts)


def _http(body: TaskBody) -> Iterator[Answer]:
    for call in body.calls:
        if _posts(body, call):
            yield from _keyless(body, call)


def _posts(body: TaskBody, call: ast.Call) -> bool:
    called = body.dotted(call.func) or ""
    if called in _REQUESTS and call.args:
        return (text_of(call.args[0]) or "").upper() in ("POST", "PATCH")
    sent = [one for one in (call, *map(body.meant, call.args)) if isinstance(one, ast.Call)]
    opens = called == "urllib.request.urlopen"
    return called in POSTS or (opens and any(keyword(one, "data") or len(one.args) > 1 for one in sent))


def _mail(body: TaskBody) -> Iterator[Answer]:
    yield from body.calling(*MAIL)
    yield from (call for call in body.calls if method(call, "email_user") is not None)


def _stripe(body: TaskBody) -> Iterator[Answer]:
    for call in body.calling("stripe."):
        name = (body.dotted(call.func) or "").rpartition(".")[2]
        if name in _STRIPE:
            yield from _keyless(body, call)


def _boto(body: TaskBody) -> Iterator[Answer]:
    for call in body.calling("boto3.client()."):
        name = (body.dotted(call.func) or "").rpartition(".")[2]
        if name in _BOTO and not any(keyword(call, token) for token in _BOTO_TOKENS):
            yield Unsure(call) if is_open(call) else call


def _files(body: TaskBody) -> Iterator[Answer]:
    found = list(body.calling(*_FILES))
    for call in body.calling("open", "io.open", "pathlib.Path().open"):
        path = (body.dotted(call.func) or "").startswith("pathlib")
        mode = text_of(keyword(call, "mode") or next(iter(call.args[0 if path else 1 :]), None))
        if mode and set(mode) & set("wax"):
            found.append(call)
    found += [call for call in body.calls if _saves_file(body, call)]
    temporary = any("tempfile" in word or "tmp" in word or word == "TemporaryDirectory" for word in body.words)
    yield from (Unsure(call) if temporary or _is_own(body, call) else call for call in found)


def _is_own(body: TaskBody, call: ast.Call) -> bool:
    """Return whether it takes away what the body itself may have made."""
    path = next(iter(call.args), None) if body.dotted(call.func) in _REMOVES else None
    made = body.meant(path) if isinstance(path, ast.Name) else None
    return isinstance(made, ast.Call) and not (body.dotted(made.func) or "").startswith(("os.path.", "pathlib."))


def _saves_file(body: TaskBody, call: ast.Call) -> bool:
    """Return whether it is ``instance.field.save(name, ContentFile(…))``, or the same of a storage, by a fixed name."""
    save = method(call, "save") if len(call.args) > 1 else None
    fixed = save is not None and (isinstance(save.value, ast.Attribute) or text_of(call.args[0]) is not None)
    content = call.args[1] if fixed else None
    meant = body.meant(content)
    return meant is not None and (body.dotted(meant) or "").startswith("django.core.files.")


def _cache(body: TaskBody) -> Iterator[Answer]:
    for call in body.calls:
        changed = method(call, *_CACHE)
        if changed is not None and _is_cache(body, changed.value):
            counts = changed.attr in ("incr", "decr")
            yield Unsure(call) if _fills(body, call) or not (counts or _changes_rows(body)) else call


def _changes_rows(body: TaskBody) -> bool:
    """Return whether something in it may change rows, besides what it calls."""
    changes = (one for one in body.calls if method(one, "save", *WRITES, *REPEATABLE) is not None)
    return any(not _is_cache(body, receiver(one)) for one in changes)


def _is_cache(body: TaskBody, node: ast.AST) -> bool:
    """Return whether it is Django's ``cache``, or ``caches["other"]``."""
    if isinstance(node, ast.Subscript):
        return body.dotted(node.value) == "django.core.cache.caches"
    return body.dotted(node) == "django.core.cache.cache"


def _fills(body: TaskBody, call: ast.Call) -> bool:
    """Return whether it keeps what was read: a value, before the task has written anything."""
    value = call.args[1] if len(call.args) > 1 and method(call, "set") is not None else None
    loop = body.loop(call)
    before = [one for one in body.calls if one.lineno < call.lineno or (loop is not None and body.loop(one) is loop)]
    return value is not None and not isinstance(value, ast.Constant) and not any(map(writes, before))


def _random_key(body: TaskBody) -> Iterable[Answer]:
    for node in body.nodes:
        named = isinstance(node, ast.keyword) and (node.arg or "").lower() == "idempotency_key"
        values = [node.value] if named and isinstance(node, ast.keyword) else []
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            values = [
                value for key, value in pairs if (text_of(key) or "").lower().replace("-", "_") == "idempotency_key"
            ]
        for value in values:
            meant = body.meant(value)
            if meant is not None and changing(body, meant):
                # Perhaps only where there is none yet.
                yield Unsure(value) if isinstance(meant, ast.BoolOp | ast.IfExp) else value


RULES = (
    Rule(
        "L101",
        "An HTTP call without an idempotency key",
        "The call is made before the commit, and once more in each further attempt: after a crash, a retry or a second "
        "delivery the other side does it twice. Send current_operation().idempotency_key as its key, or make the call "
        "in a task of its own whose repetition is harmless.",
        _http,
    ),
    Rule(
        "L102",
        "Mail is sent in the transaction",
        "The mail is out before the commit: after a rollback it tells of what never happened, and the next attempt "
        "sends it again. Enqueue a task here that does nothing but send it, with atomic=False: it exists only if this "
        "commits.",
        _mail,
        atomic=True,
    ),
    Rule(
        "L103",
        "A call of Stripe without an idempotency key",
        "A further attempt pays, refunds or captures again. Pass idempotency_key=current_operation().idempotency_key.",
        _stripe,
    ),
    Rule(
        "L104",
        "A call of AWS that is not deduplicated",
        "A further attempt sends, publishes or starts it again. Give it the token that the service deduplicates by "
        "(MessageDeduplicationId, clientToken), made of current_operation().idempotency_key, or send it from a task of "
        "its own whose repetition is harmless.",
        _boto,
    ),
    Rule(
        "L105",
        "Files change in the transaction",
        "A file is not rolled back: after a rollback it holds, or lacks, what the database does not know of, and the "
        "next attempt appends again. Write under a name made of the operation in a task with atomic=False, and keep "
        "the name in the row afterwards.",
        _files,
        atomic=True,
    ),
    Rule(
        "L106",
        "The cache changes in the transaction",
        "Others see the value before the commit and after a rollback; what is deleted is filled again with the old row "
        "before the commit. Do it in transaction.on_commit(), with a timeout for what a crash loses.",
        _cache,
        atomic=True,
    ),
    Rule(
        "L107",
        "An idempotency key that each attempt makes anew",
        "A key from the clock or at random is another one in the next attempt, so the other side does it twice. Use "
        "current_operation().idempotency_key, or a value from the task's arguments.",
        _random_key,
    ),
)
