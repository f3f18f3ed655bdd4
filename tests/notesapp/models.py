"""Notes that are saved, soft-deleted and restored, and what hangs on them by each of Django's on_delete rules."""

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models

from django_task_safety.models import LiveUniqueConstraint, LockableModel, PendingOperationsModel, SoftDeleteModel


class Draft(PendingOperationsModel):
    """Saved by the package's rules, but not soft-deletable."""

    title = models.CharField(max_length=200)
    text = models.TextField(blank=True)
    copies = models.IntegerField(default=0)
    data = models.JSONField(default=dict)
    blob = models.BinaryField(default=bytes)
    file = models.FileField(blank=True)
    changed = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.title


class LongDraft(Draft):
    pages = models.IntegerField(default=1)


class Notebook(SoftDeleteModel):
    title = models.CharField(max_length=200)

    def __str__(self) -> str:
        return self.title


class Tag(SoftDeleteModel):
    name = models.CharField(max_length=200)
    content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE)
    object_id = models.BigIntegerField()
    tagged = GenericForeignKey()

    def __str__(self) -> str:
        return self.name


class Topic(models.Model):
    """Not soft-deletable, on the other side of a many-to-many relation."""

    name = models.CharField(max_length=200)

    def __str__(self) -> str:
        return self.name


class Note(SoftDeleteModel):
    notebook = models.ForeignKey(Notebook, models.CASCADE, null=True, blank=True, related_name="notes")
    title = models.CharField(max_length=200)
    text = models.TextField(blank=True)
    copied = models.IntegerField(default=0)
    topics = models.ManyToManyField(Topic, blank=True, related_name="notes")
    tags = GenericRelation(Tag)

    def __str__(self) -> str:
        return self.title


class Report(Note):
    """A child by multi-table inheritance; the parent's table says whether it is removed."""

    pages = models.IntegerField(default=1)


class Appendix(SoftDeleteModel):
    """Goes with its report, which is a note."""

    report = models.ForeignKey(Report, models.CASCADE, related_name="appendices")

    def __str__(self) -> str:
        return f"appendix {self.pk}"


class Approval(SoftDeleteModel):
    """Protects its report."""

    report = models.ForeignKey(Report, models.PROTECT, related_name="approvals")

    def __str__(self) -> str:
        return f"approval {self.pk}"


class PinnedNote(Note):
    class Meta:
        proxy = True


class Copy(SoftDeleteModel):
    """Goes with its note."""

    note = models.ForeignKey(Note, models.CASCADE, related_name="copies")
    original = models.ForeignKey("self", models.CASCADE, null=True, blank=True)
    number = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"copy {self.number}"


class Page(SoftDeleteModel):
    """Goes with its copy, two levels below the note."""

    copy = models.ForeignKey(Copy, models.CASCADE, related_name="pages")

    def __str__(self) -> str:
        return f"page {self.pk}"


class Attachment(models.Model):
    """Not soft-deletable: it stays when its note is removed, and goes when that is deleted for good."""

    note = models.ForeignKey(Note, models.CASCADE, related_name="attachments")

    def __str__(self) -> str:
        return f"attachment {self.pk}"


class Reminder(models.Model):
    """Is detached."""

    note = models.ForeignKey(Note, models.SET_NULL, null=True, related_name="reminders")

    def __str__(self) -> str:
        return f"reminder {self.pk}"


class Bookmark(SoftDeleteModel):
    """Is moved to the note with the number 1."""

    note = models.ForeignKey(Note, models.SET_DEFAULT, default=1, related_name="bookmarks")

    def __str__(self) -> str:
        return f"bookmark {self.pk}"


class Signature(SoftDeleteModel):
    """Protects its note while it is not removed itself."""

    note = models.ForeignKey(Note, models.PROTECT, related_name="signatures")

    def __str__(self) -> str:
        return f"signature {self.pk}"


class Receipt(models.Model):
    """Protects its note, and cannot be removed softly."""

    note = models.ForeignKey(Note, models.PROTECT, related_name="receipts")

    def __str__(self) -> str:
        return f"receipt {self.pk}"


class Clause(SoftDeleteModel):
    """Restricts its note, unless it goes with the same notebook."""

    notebook = models.ForeignKey(Notebook, models.CASCADE, related_name="clauses")
    note = models.ForeignKey(Note, models.RESTRICT, related_name="clauses")

    def __str__(self) -> str:
        return f"clause {self.pk}"


class Label(SoftDeleteModel):
    """Unique also among the removed."""

    slug = models.SlugField(unique=True)
    text = models.CharField(max_length=200, blank=True)

    def __str__(self) -> str:
        return self.slug


class Address(SoftDeleteModel):
    """Unique among what is not removed."""

    slug = models.SlugField()
    site = models.CharField(max_length=20, default="home")

    class Meta:
        constraints = (
            LiveUniqueConstraint(fields=["slug"], name="live_slug"),
            LiveUniqueConstraint(fields=["site", "slug"], name="live_site_slug"),
        )

    def __str__(self) -> str:
        return self.slug


class Ledger(SoftDeleteModel, LockableModel):
    """Both mixins."""

    lock_blocks = frozenset({"delete", "save"})

    title = models.CharField(max_length=200)

    def __str__(self) -> str:
        return self.title


class Diary(LockableModel, SoftDeleteModel):
    """Both mixins, the other way round."""

    lock_blocks = frozenset({"delete", "save"})

    title = models.CharField(max_length=200)

    def __str__(self) -> str:
        return self.title


class Summary(SoftDeleteModel, Topic):
    """Removable, while its parent is not."""

    text = models.CharField(max_length=100)


class PlainDraft(models.Model):
    """As `Draft`, but saved by Django's own rules."""

    title = models.CharField(max_length=200)
    text = models.TextField(blank=True)
    copies = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.title


class PlainLongDraft(PlainDraft):
    pages = models.IntegerField(default=1)
