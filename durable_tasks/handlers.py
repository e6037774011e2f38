"""Handlers: the user's functions by capability, how they are called, and the context they see.

It must not know slots, storage or Temporal; a registry belongs to one DurableTasks or one worker, never to a process.
"""

import inspect
import logging
import threading
from collections.abc import Callable, Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType, NoneType, SimpleNamespace, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from durable_tasks.errors import InvalidInput, NonRetryable
from durable_tasks.models import Capability, NewTask, Task
from durable_tasks.wording import shown

Function = TypeVar("Function", bound=Callable[..., Any])


MESSAGE_LIMIT = 8 * 1024
"""Characters of a progress message that are kept."""


_current: ContextVar[Task | None] = ContextVar("durable_tasks.current", default=None)


def current_task() -> Task | None:
    """The task whose handler runs here; None elsewhere. It follows the handler into what it awaits and its threads
    that copy the context."""
    return _current.get()


class _TaskLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds the task to what the caller says, and never in its place."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


class TaskContext:
    """What a handler may ask and tell while it runs. Safe to use from any thread."""

    def __init__(
        self,
        task: Task,
        *,
        prior: Mapping[str, Any],
        report: Callable[[float, str | None], None],
        cancelled: threading.Event,
    ) -> None:
        self.task = task
        self.attempt = task.attempt
        self.prior: Mapping[str, Any] = MappingProxyType(prior)
        """Outputs by name: of the steps before in a pipeline, of the dependencies elsewhere. When they are more than a
        megabyte together, each is read from the file when it is asked for, which takes milliseconds."""
        self.logger = _TaskLogger(
            logging.getLogger("durable_tasks.handler"),
            {"task_id": task.id, "org_id": task.org_id, "capability": task.capability, "attempt": task.attempt},
        )
        self._report = report
        self._cancelled = cancelled

    @property
    def cancelled(self) -> bool:
        """Whether the attempt was cancelled, timed out or given to somebody else: stop, the result is refused."""
        return self._cancelled.is_set()

    def progress(self, percent: float, message: str | None = None) -> None:
        """Report progress, 0 to 100. Returns at once; quick reports are coalesced, long messages are cut.
        Raises InvalidInput."""
        if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
            raise InvalidInput(f"progress is a number from 0 to 100, not {shown(percent)}", percent=percent)
        self._report(float(percent), None if message is None else str(message)[:MESSAGE_LIMIT])


@dataclass(frozen=True, slots=True)
class Handler:
    """One registered function and what it wants as its second argument."""

    function: Callable[..., Any]
    is_async: bool
    wants: TypeAdapter[Any] | None
    """None: the task itself; else the type that the task's input is validated into."""

    def call(self, ctx: TaskContext) -> Any:
        """Call the function; of an async one this is its coroutine. What it logs is known to be about the task.
        Raises NonRetryable when the input does not fit, and whatever the function raises."""
        _current.set(ctx.task)
        return self.function(ctx, self.argument(ctx.task))

    def argument(self, task: Task) -> Any:
        """The second argument. Raises NonRetryable when the input does not fit the annotation."""
        if self.wants is None:
            return task
        try:
            return self.wants.validate_python(task.input)
        except ValidationError as error:
            raise NonRetryable(
                f"the input does not fit the handler: {error}", details=error.errors(include_url=False)
            ) from error


class Handlers:
    """The registry. Register before or after start; a capability has one handler.

    A DurableTasks has one; an external worker, which has no file, is given one by itself."""

    def __init__(self) -> None:
        self._by_capability: dict[str | None, Handler] = {}

    def handler(self, capability: Capability) -> Callable[[Function], Function]:
        """Register the decorated `f(ctx, task)` for a capability. See TaskContext for ctx."""
        NewTask(name="x", capability=capability)

        def register(function: Function) -> Function:
            return self.add(capability, function)

        return register

    def default_handler(self, function: Function) -> Function:
        """Register the handler of tasks without a capability."""
        return self.add(None, function)

    def add(self, capability: str | None, function: Function) -> Function:
        """Register `function`; None makes it the handler of tasks without a capability.

        Raises InvalidInput for a second handler, or a function that cannot take (ctx, task)."""
        if capability in self._by_capability:
            raise InvalidInput(f"the capability {capability!r} has a handler already", capability=capability)
        self._by_capability[capability] = inspect_handler(function)
        return function

    def find(self, capability: str | None) -> Handler | None:
        return self._by_capability.get(capability)

    @property
    def capabilities(self) -> tuple[str, ...]:
        return tuple(name for name in self._by_capability if name is not None)

    @property
    def all(self) -> tuple[str | None, ...]:
        """The same with None for the default handler, if there is one."""
        return tuple(self._by_capability)

    @property
    def has_default(self) -> bool:
        return None in self._by_capability


def inspect_handler(function: Callable[..., Any]) -> Handler:
    """Read what `function(ctx, task)` wants from its signature. Raises InvalidInput when it cannot be called so."""
    try:
        signature = inspect.signature(function)
        signature.bind(None, None)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"the handler {function!r} cannot be called with (ctx, task): {error}") from error
    target = function
    while isinstance(target, partial):
        target = target.func
    if not inspect.isroutine(target):
        target = type(target).__call__
    positional = [p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    wants = None
    if len(positional) > 1 and positional[1].annotation is not inspect.Parameter.empty:
        annotation = _resolved(target, positional[1])
        wants = None if _means_task(annotation) else TypeAdapter(annotation)
    return Handler(function, inspect.iscoroutinefunction(target), wants)


def _resolved(target: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """What the annotation stands for. That of no other parameter is looked at: they may name what is imported for type
    checkers only. Raises InvalidInput when it cannot be found."""
    if not isinstance(parameter.annotation, str):
        return parameter.annotation
    function = inspect.unwrap(target)
    try:
        enclosed = inspect.getclosurevars(function).nonlocals
        # With its type parameters and its closure, where a class of the surrounding function is found if it is used.
        only = SimpleNamespace(__annotations__={"task": parameter.annotation})
        return get_type_hints(only, getattr(function, "__globals__", {}), enclosed)["task"]
    except (NameError, AttributeError, SyntaxError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"the handler {shown(target)} wants {parameter.name}: {parameter.annotation}, which cannot be resolved:"
            f" {error}; define or import it at the module's top level, outside of `if TYPE_CHECKING`"
        ) from error


def _means_task(annotation: Any) -> bool:
    """Task itself, also as one that may be None."""
    return annotation is Task or (
        get_origin(annotation) in (Union, UnionType) and set(get_args(annotation)) == {Task, NoneType}
    )


def dump_output(value: Any) -> Any:
    """A handler's return value as plain JSON data. Raises NonRetryable when there is none for it."""
    try:
        plain = to_jsonable_python(value, fallback=_plain)
        _refuse_merging(value)
        return plain
    except (PydanticSerializationError, TypeError, ValueError, RecursionError) as error:
        raise NonRetryable(f"the handler's output cannot be stored as JSON: {error}") from error


def _refuse_merging(value: Any) -> None:
    """Keys become text: 1 and "1" would be one, and what one of them has would be lost in silence."""
    pending = [value]  # which ends: what holds itself has been refused before
    while pending:
        item = pending.pop()
        if isinstance(item, Mapping):
            if not all(isinstance(key, str) for key in item):
                keys = to_jsonable_python(dict.fromkeys(item))
                if len(keys) < len(item):
                    raise ValueError(f"of its {len(item)} keys some are the same as text: {shown(list(item))}")
            pending.extend(item.values())
        elif isinstance(item, list | tuple):
            pending.extend(item)


def _plain(value: Any) -> Any:
    """Mappings that are no dict, as `ctx.prior`."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")
