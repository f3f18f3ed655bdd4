from django import template

from demo import engine
from django_task_safety import presentation

register = template.Library()


@register.filter
def word(operation):
    return presentation.state_word(operation)


@register.filter
def icon(operation):
    return presentation.icon(operation.state)


register.filter("tone", presentation.tone)


@register.filter
def times(number: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(number, f"{number} times")


@register.inclusion_tag("demo/machinery.html")
def machinery() -> dict[str, object]:
    return engine.state()
