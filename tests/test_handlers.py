"""Handlers: what their second argument is, and what their context says for them.

It must not test how they are run.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Optional

import pytest
from pydantic import BaseModel

from durable_tasks import Task
from durable_tasks.errors import InvalidInput
from durable_tasks.handlers import TaskContext, inspect_handler
from durable_tasks.web.examples import _PENDING as TASK

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nowhere import Elsewhere, Order  # type: ignore[import-not-found]


def unresolved_context(ctx: Elsewhere, task: Task) -> Awaitable[Elsewhere] | None: ...
def optional(ctx: TaskContext, task: Task | None) -> None: ...
def old_optional(ctx: TaskContext, task: Optional[Task] = None) -> None: ...  # noqa: UP045
def plain(ctx: Elsewhere, order: dict[str, int]) -> None: ...
def missing(ctx: TaskContext, order: Order) -> None: ...


class Shop:
    def ship(self, ctx: Elsewhere, order: dict[str, int]) -> None: ...
    def __call__(self, ctx: Elsewhere, task: Task) -> None: ...


def enclosed() -> Callable[..., Any]:
    class Local(BaseModel):
        number: int

    def handler(ctx: Elsewhere, order: Local) -> type:
        return Local

    return handler


@pytest.mark.parametrize("function", [unresolved_context, optional, old_optional, Shop(), partial(unresolved_context)])
def test_the_task_itself_is_given_to_who_asks_for_it(function: Callable[..., Any]) -> None:
    assert inspect_handler(function).argument(TASK) is TASK


@pytest.mark.parametrize("function", [plain, Shop().ship])
def test_only_the_second_annotation_is_looked_at(function: Callable[..., Any]) -> None:
    assert inspect_handler(function).argument(TASK.model_copy(update={"input": {"a": 1}})) == {"a": 1}


def test_a_class_of_the_closure_is_found() -> None:
    assert inspect_handler(enclosed()).argument(TASK.model_copy(update={"input": {"number": 1}})).number == 1


def test_an_annotation_that_cannot_be_resolved_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"missing.* wants order: Order, which cannot be resolved.*TYPE_CHECKING"):
        inspect_handler(missing)


def test_what_the_caller_logs_stays_beside_what_is_known(caplog: pytest.LogCaptureFixture) -> None:
    ctx = TaskContext(TASK, prior={}, report=lambda percent, message: None, cancelled=threading.Event())
    with caplog.at_level(logging.INFO):
        ctx.logger.info("shipped", extra={"order": 42, "task_id": "forged"})
    (record,) = caplog.records
    assert (record.__dict__["order"], record.__dict__["task_id"]) == (42, TASK.id)
