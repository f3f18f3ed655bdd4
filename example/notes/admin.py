from django.contrib import admin

from notes.models import Charge, Note, Order, Score

admin.site.register([Charge, Note, Order, Score])
