from django.contrib import admin
from django.urls import include, path

from demo.views import machinery, notes, orders

urlpatterns = [
    path("", notes.notes, name="notes"),
    path("notes/<int:pk>/copy/", notes.copy, name="copy"),
    path("notes/<int:pk>/delete/", notes.delete, name="delete"),
    path("notes/<int:pk>/restore/", notes.restore, name="restore"),
    path("orders/", orders.orders, name="orders"),
    path("orders/table/", orders.table, name="orders_table"),
    path("orders/order/", orders.order, name="order"),
    path("orders/<int:pk>/cancel/", orders.cancel, name="cancel_order"),
    path("operations/", include("django_task_safety.urls")),
    path("machinery/", machinery.machinery, name="machinery"),
    path("machinery/kill-worker/", machinery.kill_worker, name="kill_worker"),
    path("machinery/stop-broker/", machinery.stop_broker, name="stop_broker"),
    path("machinery/start-broker/", machinery.start_broker, name="start_broker"),
    path("enter-admin/", machinery.enter_admin, name="enter_admin"),
    path("admin/", admin.site.urls),
]
