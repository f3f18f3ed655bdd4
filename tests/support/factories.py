"""The objects of the tests' app, made with what a test does not care about filled in."""

import factory
from factory.django import DjangoModelFactory

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
