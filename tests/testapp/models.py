import uuid

from django.db import models

from tests.testapp.guarded import (
    Chapter,
    City,
    Folder,
    Machine,
    Page,
    PinnedPage,
    Placing,
    Remark,
    Sheet,
    Shelf,
    Vault,
    Word,
)

__all__ = [
    "Chapter",
    "City",
    "Country",
    "Document",
    "Effect",
    "Folder",
    "Machine",
    "Note",
    "Order",
    "Page",
    "PinnedNote",
    "PinnedPage",
    "Placing",
    "Remark",
    "Report",
    "Sheet",
    "Shelf",
    "Vault",
    "Word",
]


class Note(models.Model):
    title = models.CharField(max_length=200)
    text = models.TextField(blank=True)
    copies = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.title


class Order(models.Model):
    number = models.IntegerField(unique=True)
    amount = models.IntegerField()
    charged = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"Order {self.number}"


class Effect(models.Model):
    """A trace that a task leaves, to be counted."""

    name = models.CharField(max_length=200)
    key = models.CharField(max_length=200)
    created = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.name} {self.key}"


class Document(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    title = models.CharField(max_length=200)

    def __str__(self) -> str:
        return self.title


class Country(models.Model):
    code = models.CharField(max_length=20, primary_key=True)

    def __str__(self) -> str:
        return self.code


class Report(Note):
    """A child by multi-table inheritance."""

    pages = models.IntegerField(default=1)


class PinnedNote(Note):
    class Meta:
        proxy = True
