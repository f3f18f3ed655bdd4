"""The list of operations: newest first, a page by where it begins, and no count of what may be millions."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.utils.translation import gettext

from django_task_safety.admin import cells, filters, looking
from django_task_safety.admin.looking import Plan
from django_task_safety.fleet import reasons
from django_task_safety.ledger.keyset import NEWEST_FIRST, Cursor

BEFORE, AFTER = "before", "after"


class OperationChangeList(ChangeList):
    """Django's, which reads a page of it as `looking` does."""

    plan: Plan
    page: looking.Page

    def get_filters_params(self, params: Any = None) -> Any:
        """Return what the list is filtered by, which where a page begins is not."""
        for name in (BEFORE, AFTER):
            self.filter_params.pop(name, None)
        return super().get_filters_params(params)

    def get_ordering(self, request: Any, queryset: Any) -> list[Any]:
        return list(NEWEST_FIRST)

    def get_results(self, request: Any) -> None:
        """Read the page."""
        given = {name: values[-1] for name, values in self.get_filters_params().items()}
        self.plan = Plan() if self.query else filters.plan(given)
        found = self.queryset.defer(*cells.HEAVY)
        self.page = looking.page(found, self.plan, self.list_per_page, **self._start())
        cells.furnish(self.page.rows, request, self.model_admin.admin_site)
        reasons.share_fleet(self.page.rows)
        rows: Any = self.page.rows
        self.result_list = rows
        # Django's own templates and actions know numbers only.
        self.result_count = self.full_result_count = max(self.page.count, len(self.page.rows) + self.has_more)
        self.show_full_result_count, self.can_show_all, self.multi_page = False, False, False
        self.show_admin_actions, self.formset = True, None  # the latter before Django 6 only by its own view
        self.paginator = self.model_admin.get_paginator(request, rows, self.list_per_page)

    def _start(self) -> dict[str, Cursor]:
        try:
            return {name: Cursor.parse(self.params[name]) for name in (BEFORE, AFTER) if name in self.params}
        except ValueError as exc:
            raise IncorrectLookupParameters(exc) from exc

    @property
    def has_more(self) -> bool:
        """Whether there may be more rows than those of this page."""
        return self.page.newer is not None or self.page.older is not None

    @property
    def shown_count(self) -> str:
        """How many there are, as far as they are counted: "1,000+"."""
        return looking.in_words(self.page.count)

    @property
    def shown_look(self) -> str:
        """How far was looked where that was not to the end; "" where it was."""
        if self.page.edge is None:
            return ""
        said = gettext("Back to %(moment)s, %(rows)s operations were looked through.")
        return said % {
            "rows": f"{self.plan.window * len(self.plan.strands):,}",
            "moment": cells.moment(self.page.edge.created_at),
        }

    @property
    def newest_url(self) -> str:
        """The first page, where this one begins elsewhere."""
        return self.get_query_string() if BEFORE in self.params or AFTER in self.params else ""

    @property
    def newer_url(self) -> str:
        return self.get_query_string({AFTER: str(self.page.newer)}) if self.page.newer else ""

    @property
    def older_url(self) -> str:
        return self.get_query_string({BEFORE: str(self.page.older)}) if self.page.older else ""
