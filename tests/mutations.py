"""Break each statement that keeps an invariant, once, and see a test fail.

    python -m tests.mutations [--db NAME] [WORD …]

Each mutation is made in a copy of the checkout, where the tests that are named with it run. One that no test notices is
a hole. The invariants are those of docs/explanation/proof.rst.
"""

import argparse
import dataclasses
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclasses.dataclass(frozen=True)
class Mutation:
    """One broken statement.

    Attributes:
        invariant: Its name, as in docs/explanation/proof.rst.
        file: The module, in the package.
        text: What stands there, once.
        broken: What stands there instead.
        tests: The tests that notice, as pytest names them.
        db: The database on which they do.
    """

    invariant: str
    file: str
    text: str
    broken: str
    tests: tuple[str, ...]
    db: str = "sqlite"


MUTATIONS = (
    Mutation(
        "one row per key",
        "producer/key.py",
        "operation.key_digest = keys.digest(*parts)",
        "operation.key_digest = None",
        ("tests/producer/test_duplicates.py::test_a_duplicate_of_a_pending_operation_answers_its_handle",),
    ),
    Mutation(
        "one row per key",
        "ledger/insert.py",
        'cursor.execute(f"{sql} ON CONFLICT DO NOTHING", params)',
        "cursor.execute(sql, params)",
        ("tests/producer/test_duplicates.py::test_a_duplicate_of_a_pending_operation_answers_its_handle",),
    ),
    Mutation(
        "row before message",
        "producer/enqueue.py",
        "transaction.on_commit(send, using=conf().DATABASE, robust=True)",
        "send()",
        (
            "tests/crash/test_races.py::test_a_message_that_comes_before_the_enqueuing_transaction_has_ended_harms_nothing",
            "tests/producer/test_enqueue.py",
        ),
    ),
    Mutation(
        "one owner",
        "ledger/statements.py",
        "THEN due_at <= {now} AND newer_subject_label IS NULL AND (deadline_at IS NULL OR due_at < deadline_at)",
        "THEN TRUE",
        ("tests/worker/test_delivery.py::test_a_copy_of_a_running_message_is_dropped",),
        "postgresql",
    ),
    Mutation(
        "nothing ended comes back",
        "ledger/statements.py",
        "        ELSE FALSE\n    END",
        "        ELSE TRUE\n    END",
        ("tests/worker/test_delivery.py::test_a_copy_of_a_cancelled_message_does_not_run_it",),
    ),
    Mutation(
        "nothing ended comes back",
        "ledger/finish.py",
        "update(found.filter(state__in=AbstractOperation.PENDING), {**cancelled(reason)",
        "update(found, {**cancelled(reason)",
        ("tests/ledger/test_cancellation.py::test_a_stale_instance_does_not_cancel_what_has_ended",),
    ),
    Mutation(
        "no effect without its claim",
        "ledger/statements.py",
        'returned = _WITHOUT_FLUSH if alone and not durable else "1"',
        'returned = _WITHOUT_FLUSH if not durable else "1"',
        ("tests/ledger/test_claims_without_flush.py::test_inside_a_transaction_the_callers_commit_stays_durable",),
        "postgresql",
    ),
    Mutation(
        "no effect without its claim",
        "ledger/statements.py",
        "(max_attempts IS NULL OR attempt < max_attempts) THEN 'off'",
        "(max_attempts IS NULL OR attempt <= max_attempts) THEN 'off'",
        (
            "tests/ledger/test_claims_without_flush.py::test_the_last_allowed_attempt_is_counted_on_the_disk_before_it_begins",
        ),
        "postgresql",
    ),
    Mutation(
        "no effect without its claim",
        "worker/delivery.py",
        "return not task.atomic or bool(",
        "return bool(",
        ("tests/ledger/test_claims_without_flush.py::test_a_body_outside_a_transaction_is_claimed_durably",),
        "postgresql",
    ),
    Mutation(
        "no claim without a lease",
        "ledger/statements.py",
        "f\"state = 'running', token = %s, worker = %s, due_at = {first_look}, ",
        "f\"state = 'running', token = %s, worker = %s, due_at = NULL, ",
        ("tests/worker/test_sweeper.py::test_the_attempt_of_a_lost_worker_is_queued_again",),
    ),
    Mutation(
        "attempts are bounded",
        "ledger/statements.py",
        "WHEN available_at > {now} OR attempt >= max_attempts THEN FALSE",
        "WHEN available_at > {now} THEN FALSE",
        ("tests/worker/test_fencing.py::test_a_copy_of_the_message_does_not_exceed_the_attempts",),
        "postgresql",
    ),
    Mutation(
        "expired never starts",
        "ledger/statements.py",
        "WHEN {state} = 'queued' THEN attempt > 0 OR expires_at IS NULL OR expires_at > {now}",
        "WHEN {state} = 'queued' THEN TRUE",
        ("tests/worker/test_expiry.py::test_an_expired_operation_cannot_be_claimed",),
        "postgresql",
    ),
    Mutation(
        "fence",
        "ledger/statements.py",
        'return f"id = %s AND token = %s AND',
        'return f"id = %s AND (token = %s OR TRUE) AND',
        ("tests/worker/test_fencing.py::test_a_zombie_cannot_settle_even_while_its_successor_runs",),
    ),
    Mutation(
        "fence",
        "ledger/finish.py",
        "owned = table.rows().filter(pk=operation.pk, token=operation.token, state=State.RUNNING)",
        "owned = table.rows().filter(pk=operation.pk)",
        ("tests/worker/test_fencing.py::test_however_a_zombie_ends_the_row_stays_its_successors",),
    ),
    Mutation(
        "effects and outcome commit together",
        "worker/attempt.py",
        "    stack.enter_context(transaction.atomic(using=conf().DATABASE))\n",
        "",
        ("tests/crash/test_crashes.py", "tests/worker/test_fencing.py"),
    ),
    Mutation(
        "the newest arguments run",
        "ledger/statements.py",
        "WHERE {_mine(connection)} AND revision = %s",
        "WHERE {_mine(connection)} AND (revision = %s OR TRUE)",
        (
            "tests/producer/test_duplicates.py::test_on_duplicate_replace_of_what_runs_runs_the_newest_arguments_once_more",
        ),
    ),
    Mutation(
        "the newest arguments run",
        "ledger/finish.py",
        "owned = owned.filter(revision=operation.revision)",
        "pass",
        ("tests/worker/test_newer_work_is_kept.py",),
    ),
    Mutation(
        "the newest arguments run",
        "ledger/object_gone.py",
        "return Q(newer_subject_label__isnull=False) & ~same",
        "return Q(newer_subject_label__isnull=False) & same & ~same",
        ("tests/worker/test_newer_work_is_kept.py",),
    ),
    Mutation(
        "an operation runs with its own arguments",
        "worker/delivery.py",
        "(args, kwargs) if message.carries_arguments_of(claimed) else None",
        "(args, kwargs)",
        (
            "tests/worker/test_forged_headers.py::test_a_message_by_name_under_the_id_of_an_operation_runs_it_with_its_own_arguments",
        ),
    ),
    Mutation(
        "every pending row is looked at",
        "ledger/schedule.py",
        '"due_at": Case(far, default=Greatest(F("available_at"), After(first_look(delay))))',
        '"due_at": None',
        ("tests/worker/test_retries.py::test_a_long_retry_delay_is_waited_for_in_the_database",),
    ),
    Mutation(
        "who waits hears of it",
        "ledger/statements.py",
        'due_sql = f"CASE WHEN delivered THEN {retained_sql(connection)} ELSE {after_sql(connection, soon)} END"',
        "due_sql = retained_sql(connection)",
        ("tests/worker/test_sweeper.py::test_a_chain_goes_on_when_the_worker_died_after_the_commit",),
    ),
    Mutation(
        "a duplicate frees its slot",
        "worker/delivery.py",
        'raise Ignore("Another attempt runs it and answers for it.")',
        "return None",
        ("tests/worker/test_delivery.py::test_a_copy_of_a_running_message_is_dropped",),
    ),
    Mutation(
        "the parent ends last",
        "ledger/parents.py",
        "filter(state=State.RUNNING, revision=parent.revision)",
        "filter(state=State.RUNNING)",
        (
            "tests/producer/test_split.py::"
            "test_a_chunk_that_is_retried_while_its_parent_is_about_to_end_keeps_it_pending",
        ),
    ),
    Mutation(
        "the parent ends last",
        "ledger/enqueue.py",
        "parents.reopen_parent(seen.parent_id)",
        "pass",
        ("tests/producer/test_split.py::test_a_retry_of_one_chunk_reopens_the_parent",),
    ),
    Mutation(
        "one lock per object and name",
        "producer/call.py",
        "operation.lock_slot = keys.slot(",
        "operation.lock_slot = None and keys.slot(",
        ("tests/locking/test_locks.py::test_a_task_holds_its_lock_from_enqueue_to_the_end",),
    ),
    Mutation(
        "the object is held",
        "ledger/subject_lock.py",
        '_STRENGTH = {"postgresql": " FOR KEY SHARE", "mysql": " LOCK IN SHARE MODE"}',
        "_STRENGTH: dict[str, str] = {}",
        (
            "tests/objects/test_object_races.py::"
            "test_an_enqueue_that_meets_an_uncommitted_delete_waits_and_finds_the_object_gone",
        ),
        "postgresql",
    ),
    Mutation(
        "looked at under the lock",
        "objects/delete_guard.py",
        "    deletion.ended = True\n",
        "    deletion.ended = True\n    return\n",
        (
            "tests/objects/test_object_races.py::test_an_operation_enqueued_between_a_deletes_look_and_the_delete_is_seen",
        ),
        "postgresql",
    ),
    Mutation(
        "protected stays",
        "objects/deletion.py",
        "if PROTECT in self.policies:",
        "if False:",
        ("tests/objects/test_delete_paths.py",),
    ),
    Mutation(
        "gone stays gone",
        "objects/saving.py",
        "                raise call.refuse()\n",
        "                pass\n",
        ("tests/objects/test_saving_what_is_gone.py",),
    ),
    Mutation(
        "retries are spread and capped",
        "values/backoff.py",
        "        delay = uniform(delay / 2, delay)\n",
        "        pass\n",
        (
            "tests/worker/test_retries.py::test_the_jitter_of_a_retry_stays_in_the_upper_half",
            "tests/values/test_backoff.py",
        ),
    ),
    Mutation(
        "retries are spread and capped",
        "values/backoff.py",
        "delay = min(maximum, base * math.pow(2.0, min(retries, 64)))",
        "delay = base * math.pow(2.0, min(retries, 64))",
        ("tests/values/test_backoff.py",),
    ),
)


def broken_copy(mutation: Mutation, directory: Path) -> Path:
    """Return a copy of the checkout in which the statement is broken.

    Raises:
        ValueError: If the text does not stand there exactly once.
    """
    copy = directory / "checkout"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".*cache", "__pycache__", "build", "dist"))
    module = copy / "django_task_safety" / mutation.file
    source = module.read_text()
    if source.count(mutation.text) != 1:
        raise ValueError(f"{mutation.file} has {source.count(mutation.text)} times: {mutation.text}")
    module.write_text(source.replace(mutation.text, mutation.broken))
    return copy


def noticed(mutation: Mutation) -> bool:
    """Return whether a test fails where the statement is broken."""
    with tempfile.TemporaryDirectory() as directory:
        copy = broken_copy(mutation, Path(directory))
        run = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-n", "0", "--live"]
        done = subprocess.run(
            [*run, "--db", mutation.db, *mutation.tests], cwd=copy, capture_output=True, text=True, check=False
        )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{mutation.invariant}: pytest did not run the tests.\n{done.stdout}{done.stderr}")
    return done.returncode == 1


def chosen(words: list[str], databases: list[str]) -> Iterator[Mutation]:
    for mutation in MUTATIONS:
        if mutation.db in databases and (not words or any(word in mutation.invariant for word in words)):
            yield mutation


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD", help="only invariants whose name has one of these")
    parser.add_argument("--db", action="append", help="only those that show on this database; may be repeated")
    arguments = parser.parse_args()
    holes = 0
    for mutation in chosen(arguments.words, arguments.db or ["sqlite", "postgresql"]):
        found = noticed(mutation)
        holes += not found
        print(
            f"{'noticed' if found else 'NOT NOTICED':12} {mutation.invariant:40} {mutation.file} ({mutation.db})",
            flush=True,
        )
    print(f"{holes} of the mutations went unnoticed")
    return bool(holes)


if __name__ == "__main__":
    sys.exit(main())
