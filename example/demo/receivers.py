from django.dispatch import receiver

from demo import twin
from demo.models import CopyRequest
from django_task_safety.signals import operation_cancelled


@receiver(operation_cancelled)
def cancel_on_plain_celery(operation, **kwargs) -> None:
    """However it was cancelled: on the page, by a delete, or in the admin."""
    for request in CopyRequest.objects.filter(operation=operation.pk):
        twin.cancel_copying(request.plain_note)
