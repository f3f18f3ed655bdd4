"""Users who may do something with operations, and who may not."""

from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType

from django_task_safety.models import Operation


def staff(name: str, *permissions: str) -> User:
    """Return a member of the staff with permissions about operations, such as ``view_operation``."""
    user, _ = User.objects.get_or_create(username=name, is_staff=True)
    kind = ContentType.objects.get_for_model(Operation)
    for codename in permissions:
        # The tests' database has none, see conftest.
        permission, _ = Permission.objects.get_or_create(
            content_type=kind, codename=codename, defaults={"name": codename}
        )
        user.user_permissions.add(permission)
    return user


def superuser(name: str) -> User:
    return User.objects.get_or_create(username=name, is_staff=True, is_superuser=True)[0]


def user(name: str) -> User:
    return User.objects.get_or_create(username=name)[0]
