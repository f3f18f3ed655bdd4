from django.contrib import admin
from django.urls import path

from demo import views

urlpatterns = [
    path("", views.notes, name="notes"),
    path("notes/<int:pk>/copy/", views.copy, name="copy"),
    path("notes/<int:pk>/delete/", views.delete, name="delete"),
    path("notes/<int:pk>/restore/", views.restore, name="restore"),
    path("operation/<uuid:pk>/", views.operation, name="operation"),
    path("cancel/<uuid:pk>/", views.cancel, name="cancel"),
    path("machinery/", views.machinery, name="machinery"),
    path("machinery/kill-worker/", views.kill_worker, name="kill_worker"),
    path("machinery/stop-broker/", views.stop_broker, name="stop_broker"),
    path("machinery/start-broker/", views.start_broker, name="start_broker"),
    path("enter-admin/", views.enter_admin, name="enter_admin"),
    path("admin/", admin.site.urls),
]
