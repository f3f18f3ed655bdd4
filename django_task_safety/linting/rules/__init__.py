"""All rules, by what they are about."""

from django_task_safety.linting.rules import (
    arguments,
    exceptions,
    messages,
    outside,
    process,
    repeated,
    rows,
    transactions,
    waiting,
)
from django_task_safety.linting.rules.rule import Rule

RULES: dict[str, Rule] = {
    rule.id: rule
    for module in (outside, messages, waiting, process, transactions, repeated, rows, exceptions, arguments)
    for rule in module.RULES
}
