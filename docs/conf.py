"""Sphinx configuration. Django is set up so that the reference can import the package."""

import os

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="only for the documentation",
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django.contrib.admin",
        "django_task_safety",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()

import django_task_safety  # noqa: E402  (it has models)

project = "django-task-safety"
author = "The django-task-safety authors"
copyright = author
version = release = django_task_safety.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.intersphinx", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
default_role = "py:obj"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False

# Each name that is written as one must lead somewhere. Those of other projects are looked up in their inventories,
# which takes a network.
nitpicky = True
short = r"AbstractOperation|Duration|Model|models\.(Model|QuerySet)|Retry|.*\.[MT]"
short_errors = r"MaxRetriesExceededError|ProtectedError|ValidationError"
nitpick_ignore_regex = [("py:.*", short), ("py:exc", short_errors)]
if os.environ.get("DOCS_OFFLINE"):
    foreign = r"(collections\.abc|datetime|django|celery|typing|unittest|uuid|http|logging)\..*"
    nitpick_ignore_regex.append(("py:.*", foreign))
else:
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3/", None),
        "django": ("https://docs.djangoproject.com/en/stable/", "https://docs.djangoproject.com/en/stable/_objects/"),
        "celery": ("https://docs.celeryq.dev/en/stable/", None),
    }

copybutton_prompt_text = "$ "

html_theme = "furo"
html_title = f"{project} {version}"
