"""Install the database's guards of a model's rows, and delete past Django."""

import functools
from contextlib import contextmanager

from django.apps import apps
from django.db import connection
from django.db.migrations.state import ProjectState

from django_task_safety.operations import GuardDeletes


def project_state():
    """Return a state of all models, to which a test may add some."""
    return ProjectState.from_apps(apps)


#: The models as they are; making them again would take longer than most tests.
unchanged_state = functools.cache(project_state)


def migrate(operation, state=None, *, backwards=False):
    state = state or unchanged_state()
    with connection.schema_editor() as editor:
        run = operation.database_backwards if backwards else operation.database_forwards
        run("testapp", editor, state, state)


@contextmanager
def installed(*names):
    operations = [GuardDeletes(name) for name in names]
    for operation in operations:
        migrate(operation)
    try:
        yield
    finally:
        for operation in operations:
            migrate(operation, backwards=True)


def raw(obj):
    """Delete an object's row by SQL."""
    opts = obj._meta
    with connection.cursor() as cursor:
        param = opts.pk.get_db_prep_value(obj.pk, connection)
        quote = connection.ops.quote_name
        cursor.execute(f"DELETE FROM {quote(opts.db_table)} WHERE {quote(opts.pk.column)} = %s", [param])
