"""The tests; a Django project with a Celery app."""

from contextlib import suppress

try:
    import MySQLdb  # noqa: F401
except ImportError:
    with suppress(ImportError):
        import pymysql

        # Django looks at the version of mysqlclient, for which PyMySQL stands in.
        pymysql.version_info = (2, 2, 8, "final", 0)
        pymysql.install_as_MySQLdb()

from tests.celery import app as celery_app

__all__ = ["celery_app"]
