"""Users of the admin."""

from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Permission, User
from django.test import Client


@pytest.fixture
def staff(db: None) -> Callable[..., Client]:
    """Make a client of a member of the staff with these permissions, by their codenames."""
    create_permissions(apps.get_app_config("django_task_safety"), verbosity=0)

    def make(*codenames: str, **values: Any) -> Client:
        user = User.objects.create_user(f"user {User.objects.count()}", is_staff=True, **values)
        found = Permission.objects.filter(codename__in=codenames)
        assert {one.codename for one in found} == set(codenames)
        user.user_permissions.set(found)
        client = Client()
        client.force_login(user)
        client.user = user
        return client

    return make
