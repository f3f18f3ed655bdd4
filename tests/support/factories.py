"""The objects of the tests' app, made with what a test does not care about filled in."""

import factory
from factory.django import DjangoModelFactory

from django_task_safety.fleet.this_side import this_side
from django_task_safety.models import Queue, Worker
from django_task_safety.registry import safe_task_names
from django_task_safety.values.clock import After, Now
from tests.testapp import models


class NoteFactory(DjangoModelFactory):
    class Meta:
        model = models.Note

    title = factory.Sequence("Note {}".format)


class OrderFactory(DjangoModelFactory):
    class Meta:
        model = models.Order

    number = factory.Sequence(lambda number: number + 1)
    amount = 250


class FolderFactory(DjangoModelFactory):
    class Meta:
        model = models.Folder

    name = factory.Sequence("Folder {}".format)


class PageFactory(DjangoModelFactory):
    class Meta:
        model = models.Page

    class Params:
        in_folder = factory.Trait(folder=factory.SubFactory(FolderFactory))

    title = factory.Sequence("Page {}".format)


class ChapterFactory(PageFactory):
    class Meta:
        model = models.Chapter


class PinnedPageFactory(PageFactory):
    class Meta:
        model = models.PinnedPage


class SheetFactory(DjangoModelFactory):
    class Meta:
        model = models.Sheet


class CityFactory(DjangoModelFactory):
    class Meta:
        model = models.City

    #: What a comparison as text, or a query made by hand, could stumble over.
    code = factory.Sequence("Ä b-'c {}".format)


class MachineFactory(DjangoModelFactory):
    class Meta:
        model = models.Machine

    name = factory.Sequence("Machine {}".format)


class VaultFactory(DjangoModelFactory):
    class Meta:
        model = models.Vault

    name = factory.Sequence("Vault {}".format)


class WorkerFactory(DjangoModelFactory):
    """A worker that runs what this process runs, and was heard of ``silent`` seconds ago."""

    class Meta:
        model = Worker

    class Params:
        silent = 0

    identity = factory.Sequence("host:{}:abc".format)
    name = factory.Sequence("w{}@host".format)
    host = "host"
    pool = "prefork"
    concurrency = 2
    queues = ["celery"]
    tasks = factory.LazyFunction(safe_task_names)
    package = factory.LazyFunction(lambda: this_side().package)
    celery = factory.LazyFunction(lambda: this_side().celery)
    django = factory.LazyFunction(lambda: this_side().django)
    settings = factory.LazyFunction(lambda: this_side().settings)
    started_at = factory.LazyFunction(Now)
    last_seen = factory.LazyAttribute(lambda row: After(-row.silent))
    clock = factory.LazyAttribute(lambda row: After(-row.silent))
    last_sweep = factory.LazyAttribute(lambda row: After(-row.silent))


class QueueFactory(DjangoModelFactory):
    class Meta:
        model = Queue

    name = "celery"
    measured_at = factory.LazyFunction(Now)
