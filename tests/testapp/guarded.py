"""Models whose operations count when they are deleted."""

import uuid

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models

from django_task_safety.fields import ExactCharField
from django_task_safety.models import LockableModel, PendingOperationsModel


class Folder(models.Model):
    """A parent that knows nothing of operations."""

    name = models.CharField(max_length=100)
    remarks = GenericRelation("testapp.Remark")

    def __str__(self) -> str:
        return self.name


class Page(PendingOperationsModel):
    """What is copied, locked and deleted."""

    title = models.CharField(max_length=100)
    views = models.IntegerField(default=0)
    folder = models.ForeignKey(Folder, null=True, on_delete=models.CASCADE, related_name="pages")
    linked = models.ManyToManyField("self", blank=True)

    def __str__(self) -> str:
        return self.title


class Chapter(Page):
    """A child by multi-table inheritance."""

    number = models.IntegerField(default=1)


class PinnedPage(Page):
    class Meta:
        proxy = True


class Sheet(PendingOperationsModel):
    """With a UUID as primary key."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    page = models.ForeignKey(Page, null=True, on_delete=models.CASCADE, related_name="sheets")

    def __str__(self) -> str:
        return str(self.pk)


class City(PendingOperationsModel):
    """With a string as primary key."""

    code = models.CharField(max_length=20, primary_key=True)
    folder = models.ForeignKey(Folder, null=True, on_delete=models.SET_NULL)

    def __str__(self) -> str:
        return self.code


class Word(LockableModel):
    """With a string as primary key that no other string equals, on any database."""

    text = ExactCharField(max_length=20, primary_key=True)

    def __str__(self) -> str:
        return self.text


class Machine(LockableModel):
    """What can be locked; others may still save it."""

    name = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.name


class Vault(LockableModel):
    """What nobody but the holder of a lock may save."""

    lock_blocks = frozenset({"delete", "save"})

    name = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.name


class Shelf(models.Model):
    """Holds pages by rows that know their operations."""

    pages = models.ManyToManyField(Page, through="Placing", related_name="shelves")

    def __str__(self) -> str:
        return str(self.pk)


class Placing(PendingOperationsModel):
    """A many-to-many through row."""

    shelf = models.ForeignKey(Shelf, on_delete=models.CASCADE)
    page = models.ForeignKey(Page, on_delete=models.CASCADE)

    def __str__(self) -> str:
        return str(self.pk)


class Remark(PendingOperationsModel):
    """A child by a generic foreign key."""

    content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE)
    object_id = models.CharField(max_length=40)
    about = GenericForeignKey()

    def __str__(self) -> str:
        return str(self.pk)
