"""The settings of the tests, with the backend of Django's Tasks that is compared."""

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

_told = json.loads(os.environ["TASK_SAFETY_TEST_RIVAL"])
TASKS = _told["TASKS"]
INSTALLED_APPS = [*INSTALLED_APPS, *_told["apps"]]
CELERY_IMPORTS = ["tests.live.rivals.tasks"]
globals().update(_told["celery"])
