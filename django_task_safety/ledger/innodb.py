"""Insert-unless-there on MySQL and MariaDB, without the deadlocks that InnoDB is known for.

When the first inserter of a unique key rolls back, all who wait for that key are granted a gap lock together, and then
deadlock on their inserts. In autocommit a deadlock is repeated, for nothing else is lost with it. In a transaction,
which it would roll back, only one session at a time may wait inside InnoDB; the others wait for a named lock.
"""

import hashlib
import math
import uuid
from collections.abc import Sequence
from typing import Any

from django.db import DatabaseError, IntegrityError, OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_task_safety.errors import TransactionRolledBack
from django_task_safety.ledger.patience import wait_in_slot
from django_task_safety.ledger.statements import execute, first_row, table, uuid_param
from django_task_safety.record import AbstractOperation, operation_model

_DUPLICATE_ENTRY = 1062
_LOCK_WAIT_TIMEOUT = 1205
_DEADLOCK = 1213
NO_SUCH_SAVEPOINT = 1305


# INSERT IGNORE would also swallow truncation; assigning a column to itself swallows the duplicate key only.
def _unless_there() -> str:
    column = f"`{operation_model()._meta.db_table}`.attempt"
    return f" ON DUPLICATE KEY UPDATE {column} = {column}"


#: Seconds to wait for the named lock; without it the statement is tried all the same.
_LOCK_WAIT = 10


def insert(
    connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any], operations: Sequence[AbstractOperation]
) -> int | None:
    """Run the INSERT so that rows whose id or key is there are left out; return how many went in.

    None for several rows, of which the database does not tell.
    """
    if len(operations) > 1:
        execute(connection, sql + _unless_there(), params)
        return None
    if operations[0].key_digest is None and operations[0].lock_slot is None:
        return _insert_or_zero(connection, sql, params)
    return _insert_one_by_one(connection, sql, params, operations[0])


def _insert_one_by_one(
    connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any], operation: AbstractOperation
) -> int:
    if getattr(connection, "mysql_is_mariadb", False):
        wait = wait_in_slot(connection, operation)
        seconds = math.ceil(operation.waits or 0 if wait is None else wait)
        patience = f"SET STATEMENT innodb_lock_wait_timeout={seconds} FOR "
        try:
            return _insert_unless_there(connection, patience + sql, params, operation)
        except OperationalError as exc:
            # Somebody holds the key.
            if error_code(exc) != _LOCK_WAIT_TIMEOUT:
                raise
            _refuse_if_rolled_back(connection, exc)
            if operation.waits is not None or _is_taken(connection, operation):
                return 0
            if wait is not None:
                raise
    database = connection.settings_dict["NAME"]
    digest = hashlib.sha256(f"{database}:{operation.key_digest or operation.lock_slot}".encode()).hexdigest()
    name = f"task_safety:{digest[:48]}"
    execute(connection, "SELECT GET_LOCK(%s, %s)", [name, _LOCK_WAIT])
    try:
        return _insert_unless_there(connection, sql, params, operation)
    finally:
        execute(connection, "SELECT RELEASE_LOCK(%s)", [name])


def _is_taken(connection: BaseDatabaseWrapper, operation: AbstractOperation) -> bool:
    """Return whether a committed row has the lock, so that there is nothing to wait for."""
    if operation.lock_slot is None:
        return False
    sql = f"SELECT 1 FROM {table(connection)} WHERE lock_slot = %s"
    return first_row(connection, sql, [operation.lock_slot]) is not None


def _insert_unless_there(
    connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any], operation: AbstractOperation
) -> int:
    """A plain INSERT's duplicate-key error would leave a shared lock, over which a later UPDATE deadlocks."""
    if getattr(connection, "mysql_is_mariadb", False):
        row = first_row(connection, f"{sql}{_unless_there()} RETURNING token", params)
    else:
        execute(connection, f"{sql}{_unless_there()}", params)
        token_sql = f"SELECT token FROM {table(connection)} WHERE id = %s"
        row = first_row(connection, token_sql, [uuid_param(connection, operation.pk)])
    # Where there was a row already, it is that one which is returned.
    return int(row is not None and row[0] is not None and uuid.UUID(str(row[0])) == operation.token)


def _insert_or_zero(connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any]) -> int:
    try:
        return execute(connection, sql, params)
    except IntegrityError as exc:
        if error_code(exc) == _DUPLICATE_ENTRY:
            return 0
        raise


def rolled_back(connection: BaseDatabaseWrapper, exc: DatabaseError) -> bool:
    """Return whether the whole transaction was rolled back with the statement that failed."""
    code = error_code(exc)
    if code != _LOCK_WAIT_TIMEOUT:
        return bool(code == _DEADLOCK)
    row = first_row(connection, "SELECT @@innodb_rollback_on_timeout", [])
    return row is None or bool(row[0])


def _refuse_if_rolled_back(connection: BaseDatabaseWrapper, exc: DatabaseError) -> None:
    """Raise `TransactionRolledBack` if the caller's transaction is gone, and let nobody go on in another one."""
    if connection.in_atomic_block and rolled_back(connection, exc):
        transaction.set_rollback(True, using=connection.alias)
        raise TransactionRolledBack(
            "Another transaction holds the key or the lock of this call, and the database rolled back this whole "
            "transaction when it had to wait (innodb_rollback_on_timeout is on). Begin the transaction anew, or turn "
            "that setting off."
        ) from exc


def error_code(exc: DatabaseError) -> Any:
    """Return the server's number of an error."""
    return (getattr(exc.__cause__, "args", None) or (None,))[0]
