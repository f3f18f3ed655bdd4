from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand

from demo.middleware import GUEST
from notes import bank
from notes.models import Note, Score

NOTES = {
    "Shopping list": "Bread, butter, two lemons.",
    "Minutes of Monday": "We meet again on Thursday.",
    "Recipe for plum cake": "Flour, plums, patience.",
    "Packing list": "Tent, lamp, a book too many.",
}


class Command(BaseCommand):
    help = "Create the tables, a guest, an administrator (demo, demo) and some notes."

    def handle(self, *args: object, **options: object) -> None:
        call_command("migrate", verbosity=0)
        bank.open_bank()
        users = get_user_model().objects
        users.create_superuser("demo", password="demo")
        guest = users.create_user(GUEST)
        Score.objects.create(user=guest)
        for title, text in NOTES.items():
            Note.objects.create(owner=guest, title=title, text=text)
