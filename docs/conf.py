"""Sphinx configuration. Django is set up so that the reference can import the package."""

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="only for the documentation",
    INSTALLED_APPS=["django.contrib.contenttypes", "django_task_safety"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()

import django_task_safety  # noqa: E402  (it has models)

project = "django-task-safety"
author = "The django-task-safety authors"
copyright = author
version = release = django_task_safety.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "py:obj"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"{project} {version}"
