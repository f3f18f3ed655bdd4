from django.apps import AppConfig


class NotesAppConfig(AppConfig):
    name = "tests.notesapp"
    label = "notesapp"
