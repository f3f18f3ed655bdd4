from django.conf import settings
from django.db import models

from django_task_safety.models import LockableModel, PendingOperationsModel, SoftDeleteModel


class NoteFields(models.Model):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    title = models.CharField(max_length=200)
    text = models.TextField(blank=True)
    #: A copy outlives its original.
    copy_of = models.ForeignKey("self", models.DO_NOTHING, null=True, blank=True, db_constraint=False)
    #: How many have been imported into it.
    parts = models.PositiveIntegerField(default=0)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.title


class Note(SoftDeleteModel, LockableModel, NoteFields):
    """A note that knows its operations, can be locked, and is deleted softly."""

    #: The operation that made this copy.
    copied_by = models.UUIDField(null=True, blank=True, editable=False, db_index=True)


class PlainNote(NoteFields):
    """The same without the package's mixins: the control of the story."""


class Order(PendingOperationsModel):
    class Status(models.TextChoices):
        CONFIRMED = "confirmed"
        DECLINED = "declined"
        CANCELLED = "cancelled"

    number = models.PositiveIntegerField(unique=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="orders")
    item = models.CharField(max_length=100)
    #: In cents, as all amounts here.
    amount = models.PositiveIntegerField()
    card = models.CharField(max_length=20)
    #: What the user was told.
    status = models.CharField(max_length=10, choices=Status, default=Status.CONFIRMED)
    charged = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"Order {self.number}"


class Charge(models.Model):
    """The shop's own ledger."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="charges")
    amount = models.PositiveIntegerField()
    receipt = models.CharField(max_length=40)

    def __str__(self) -> str:
        return f"{self.amount} for {self.order}"


class Score(models.Model):
    """A point for every cent spent."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE)
    points = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.points} points of {self.user}"
