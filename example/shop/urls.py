from django.contrib import admin
from django.urls import path

from notes import views

urlpatterns = [
    path("", views.notes, name="notes"),
    path("notes/<int:pk>/copy/", views.copy, name="copy"),
    path("notes/<int:pk>/publish/", views.publish, name="publish"),
    path("notes/<int:pk>/delete/", views.delete, name="delete"),
    path("admin/", admin.site.urls),
]
