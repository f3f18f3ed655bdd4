"""Each attempt is a span of the caller's trace."""

import pytest
from celery import signals
from django.db import transaction
from opentelemetry import propagate, trace
from opentelemetry.trace import StatusCode

from django_task_safety import idempotent_task, safe_task
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.testapp.tasks import act, record

tracer = trace.get_tracer("tests")


@safe_task(redact=["card"])
def pays(card: str) -> None:
    raise ValueError(f"{card} was refused")


@idempotent_task(key="card", redact=["card"])
def pays_once(card: str) -> None: ...


@safe_task(atomic=False)
def cancels_itself() -> None:
    Operation.objects.get().cancel()


def trace_of(span) -> int:
    return span.get_span_context().trace_id


def test_the_span_of_an_attempt_joins_the_trace_of_the_call_and_says_what_it_was(worker, spans):
    with tracer.start_as_current_span("request") as caller, transaction.atomic():
        operation = record.enqueue("x")
    worker.drain()
    span = spans.only(f"run {record.name}")
    assert (trace_of(span), span.parent.span_id) == (trace_of(caller), caller.get_span_context().span_id)
    assert dict(span.attributes) == {
        "messaging.system": "celery",
        "task_safety.operation": str(operation.pk),
        "task_safety.task": record.name,
        "task_safety.key": "",
        "task_safety.attempt": 1,
        "task_safety.outcome": "succeeded",
    }


def test_also_where_the_sweeper_published_it(worker, spans):
    with tracer.start_as_current_span("request") as caller:
        record.delay("x")
    worker.take()
    worker.pass_time(61)
    with tracer.start_as_current_span("sweep"):
        sweeper.sweep()
    worker.drain()
    assert trace_of(spans.only(f"run {record.name}")) == trace_of(caller)


def test_each_attempt_has_its_span_in_it(worker, spans):
    with tracer.start_as_current_span("request") as caller:
        act.delay("flaky")
    worker.drain()
    found = spans.named(f"run {act.name}")
    assert {trace_of(span) for span in found} == {trace_of(caller)}
    said = [(span.attributes["task_safety.attempt"], span.attributes["task_safety.outcome"]) for span in found]
    assert said == [(1, "retried"), (2, "retried"), (3, "succeeded")]
    assert [span.status.status_code for span in found] == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]


def test_what_the_body_opens_is_below_it_and_nothing_is_left_open(worker, spans, monkeypatch):
    def body(name: str) -> None:
        tracer.start_span("query").end()

    monkeypatch.setattr(record, "body", body)
    record.delay("x")
    worker.drain()
    run = spans.only(f"run {record.name}")
    assert spans.only("query").parent.span_id == run.get_span_context().span_id
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_failure_is_an_error_without_what_nobody_is_to_read(worker, spans):
    pays.delay("4111-1111")
    pays_once.delay("4111-1111")
    worker.drain()
    span = spans.only(f"run {pays.name}")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError: ••• was refused")
    assert (span.attributes["error.type"], span.events) == ("ValueError", ())
    assert "4111" not in span.to_json() + spans.only(f"run {pays_once.name}").to_json()


def test_an_attempt_that_lost_its_operation_says_so(worker, spans):
    cancels_itself.delay()
    worker.drain()
    assert spans.only(f"run {cancels_itself.name}").attributes["task_safety.outcome"] == "fenced"


def test_a_duplicate_that_does_not_run_has_none(worker, spans):
    record.delay("a")
    message = worker.take_one()
    worker.deliver(message)
    worker.deliver(message)
    assert len(spans.named(f"run {record.name}")) == 1


def test_a_trace_that_somebody_else_put_into_the_headers_is_kept(worker, spans):
    theirs = f"00-{'1' * 32}-{'2' * 16}-01"
    with tracer.start_as_current_span("request"):
        record.apply_async(("x",), headers={"traceparent": theirs})
    assert worker.take_one().headers["traceparent"] == theirs


def test_it_is_below_the_span_of_whoever_instruments_celery(worker, spans):
    opened = []

    def before(task=None, **kwargs):
        parent = propagate.extract({"traceparent": task.request.get("traceparent")})
        opened.append(trace.use_span(tracer.start_span("celery", parent), end_on_exit=True))
        opened[0].__enter__()

    def after(**kwargs):
        opened[0].__exit__(None, None, None)

    signals.task_prerun.connect(before, weak=False)
    signals.task_postrun.connect(after, weak=False)
    try:
        with tracer.start_as_current_span("request") as caller:
            record.delay("x")
        worker.drain()
    finally:
        signals.task_prerun.disconnect(before)
        signals.task_postrun.disconnect(after)
    outer, run = spans.only("celery"), spans.only(f"run {record.name}")
    assert run.parent.span_id == outer.get_span_context().span_id
    assert trace_of(run) == trace_of(outer) == trace_of(caller)


@pytest.mark.parametrize("how", ["apply", "in a transaction"])
def test_an_eager_call_is_below_its_caller(worker, spans, how):
    with tracer.start_as_current_span("request") as caller:
        if how == "apply":
            record.apply(("x",))
        else:
            with transaction.atomic():
                record.apply(("x",))
    assert all(span.parent.span_id == caller.get_span_context().span_id for span in spans.named(f"run {record.name}"))
    assert len(spans.named(f"run {record.name}")) == (1 if how == "apply" else 0)
