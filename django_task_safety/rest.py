"""For Django REST framework (extra ``rest``): operations by the rules of the status pages, and errors as answers."""

from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from rest_framework import decorators, exceptions, pagination, serializers, views, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from django_task_safety import presentation
from django_task_safety.errors import DuplicateOperation, KeyReused, ObjectGone, ObjectLocked
from django_task_safety.models import Operation
from django_task_safety.views import access, refusals, representation
from django_task_safety.views.negotiation import private

#: What each error is answered with. The errors' own texts name tasks and keys, which are nobody's business.
_ANSWERS: tuple[tuple[type[Exception], int, str | Promise], ...] = (
    (ObjectLocked, 409, refusals.LOCKED),
    (DuplicateOperation, 409, _("This is being done already.")),
    (ObjectGone, 410, _("This does not exist any more.")),
    (KeyReused, 422, _("This key was used before, for something else.")),
)


class OperationSerializer(serializers.Serializer):  # type: ignore[misc]
    """An operation as the status pages say it. Give it the request as context, as a view set does."""

    id = serializers.UUIDField(read_only=True)
    title = serializers.CharField(read_only=True)
    state = serializers.ChoiceField(choices=Operation.State.choices, read_only=True)
    progress = serializers.FloatField(read_only=True, allow_null=True)
    message = serializers.CharField(read_only=True)
    created_at = serializers.DateTimeField(read_only=True)
    started_at = serializers.DateTimeField(read_only=True, allow_null=True)
    ended_at = serializers.DateTimeField(read_only=True, allow_null=True)
    #: Of a task with ``public_result=True``; lists have none.
    result = serializers.JSONField(read_only=True)
    error = serializers.CharField(read_only=True, allow_null=True)
    can_cancel = serializers.BooleanField(read_only=True)
    next_poll = serializers.IntegerField(read_only=True, allow_null=True)

    def to_representation(self, instance: Operation) -> dict[str, Any]:
        """Return what who asks is told."""
        told = representation.as_json(self.context.get("request"), instance)
        represented: dict[str, Any] = super().to_representation(told)
        return represented


class NewestFirst(pagination.CursorPagination):  # type: ignore[misc]
    """Pages that cost the same, however many there are."""

    ordering = "-id"
    page_size = 25

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> Any:
        """Return a page; a cursor that somebody made up is not found, as one that cannot be decoded."""
        try:
            return super().paginate_queryset(queryset, request, view)
        except ValidationError:
            raise exceptions.NotFound(self.invalid_cursor_message) from None


class OperationViewSet(viewsets.GenericViewSet):  # type: ignore[misc]
    """The operations that who is logged in asked for; each by its id, for whom it is open; and ``cancel``.

    Its own rules say who may do what, those of the status pages: the project's permission classes do not count. What
    may not be seen is answered as what does not exist.
    """

    #: For the router, which makes names of it.
    queryset = Operation.objects.none()
    serializer_class = OperationSerializer
    pagination_class = NewestFirst
    filter_backends: ClassVar[tuple[type, ...]] = ()
    permission_classes: ClassVar[tuple[type, ...]] = ()
    lookup_value_converter = "uuid"
    lookup_value_regex = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"

    def list(self, request: Request) -> Response:
        """Return one's own, newest first, page by page."""
        asker = access.asker(request)
        if not asker:
            raise exceptions.NotFound
        own = representation.shown(Operation.objects.requested_by(asker))
        page = self.paginate_queryset(own)
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def retrieve(self, request: Request, pk: Any = None) -> Response:
        """Return one, and in ``Retry-After`` when it is worth asking again."""
        found = self._find(request, pk, representation.with_results(Operation.all_rows))
        next_poll = presentation.next_poll(found)
        headers = None if next_poll is None else {"Retry-After": str(next_poll)}
        return Response(self.get_serializer(found).data, headers=headers)

    @decorators.action(detail=True, methods=["post"])  # type: ignore[untyped-decorator]
    def cancel(self, request: Request, pk: Any = None) -> Response:
        """Cancel one; what has ended stays as it is. Returns it as it is then, and whether this ended it."""
        operations = representation.shown(Operation.all_rows)
        found = self._find(request, pk, operations)
        if not access.may_cancel(request, found):
            raise exceptions.NotFound
        cancelled = found.cancel(by=access.asker(request))
        return Response({**self.get_serializer(operations.get(pk=found.pk)).data, "cancelled": cancelled})

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """Let no cache keep it for others."""
        return private(super().finalize_response(request, response, *args, **kwargs))

    def _find(self, request: Request, pk: Any, operations: Any) -> Operation:
        found = access.find(request, operations, pk)
        if found is None:
            raise exceptions.NotFound
        return found


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """For the setting ``EXCEPTION_HANDLER``: answer this package's errors, and leave the others to the framework.

    409 for ``ObjectLocked`` and ``DuplicateOperation``, 410 for ``ObjectGone``, 422 for ``KeyReused``. The operations
    that stand in the way are named to those who may see them.
    """
    for kind, status, detail in _ANSWERS:
        if isinstance(exc, kind):
            views.set_rollback()
            return Response({"detail": detail, "operations": _named(exc, context.get("request"))}, status=status)
    response: Response | None = views.exception_handler(exc, context)
    return response


def _named(exc: Any, request: Any) -> list[Any]:
    operations = exc.protected_objects if isinstance(exc, ObjectLocked) else [getattr(exc, "operation", None)]
    named = refusals.visible(request, filter(None, operations)) if request is not None else []
    return list(OperationSerializer(named, many=True, context={"request": request}).data)
