"""The error tree: one class per thing that can go wrong, each with a stable code and its facts.

It must not know who raises or who answers: no HTTP status, no SQL, no Temporal.

DurableTasksError
├── InvalidInput (ValueError)        the call itself is wrong; nothing changed
│   ├── PayloadTooLarge
│   ├── InvalidOutput                the output does not fit the task's form
│   ├── InvalidOrg
│   ├── UnknownDependency
│   ├── DependencyCycle
│   ├── QueryTooCostly               it would look at too much
│   └── ForeignTransaction           create_in on another file, or outside an immediate transaction
├── NotFound                         no such id in this organisation
├── Unauthenticated                  nobody has proved who calls
├── Forbidden                        the caller's roles do not allow it
├── Conflict                         the current state refuses the call
│   ├── IllegalMove
│   ├── AlreadyClaimed
│   ├── StaleToken
│   ├── VersionConflict
│   └── IdempotencyConflict
├── RateLimited                      more than a caller's or an organisation's share was asked for
├── QuotaExceeded                    there is as much of something as there may be
├── WaitTimeout (TimeoutError)
├── StoreError
│   ├── StoreBusy
│   ├── StoreFull                    the disk has no room for it
│   ├── StoreUnreadable
│   ├── StoreCorrupt
│   ├── StoreTooNew
│   └── NetworkFileSystem
├── Closed                           not started, already stopped, another event loop, or after fork
├── ConfigurationError (ValueError)
├── TemporalUnavailable
├── ServerUnavailable                a client got no answer from the HTTP API
└── HandlerError                     what a handler raises to steer its own retry
    ├── NonRetryable
    └── RetryAfter
"""

from typing import Any, ClassVar


class DurableTasksError(Exception):
    """Base of every error of this package. `code` is stable; `facts` carries the values it speaks of."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts

    def __getattr__(self, name: str) -> Any:
        # Facts read as attributes: `error.task_id`. Only reached when normal lookup has failed.
        facts = self.__dict__.get("facts", {})
        if name in facts:
            return facts[name]
        raise AttributeError(f"{type(self).__name__} has no fact {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.facts))


def _rebuild(kind: type[DurableTasksError], message: str, facts: dict[str, Any]) -> DurableTasksError:
    return kind(message, **facts)


class InvalidInput(DurableTasksError, ValueError):
    """A value in the call is wrong. Nothing was stored."""

    code = "invalid_input"


class PayloadTooLarge(InvalidInput):
    """An input or output exceeds its limit. Facts: size, limit (bytes), field."""

    code = "payload_too_large"


class InvalidOutput(InvalidInput):
    """An output does not fit its task's form. Facts: task_id, errors (of each: pointer, code, message)."""

    code = "invalid_output"


class InvalidOrg(InvalidInput):
    """The organisation id does not match the syntax or is reserved. Facts: org."""

    code = "invalid_org"


class UnknownDependency(InvalidInput):
    """A task depends on an id or name that does not exist in this organisation. Facts: dependency."""

    code = "unknown_dependency"


class DependencyCycle(InvalidInput):
    """The dependencies form a cycle. Facts: cycle (names or ids in order)."""

    code = "dependency_cycle"


class QueryTooCostly(InvalidInput):
    """Answering would take too long, and was given up. Narrow the call. Facts: seconds."""

    code = "query_too_costly"


class ForeignTransaction(InvalidInput):
    """`create_in` was given a connection it cannot join safely. Facts: what was found."""

    code = "foreign_transaction"


class NotFound(DurableTasksError):
    """There is no such task or workflow in this organisation. Facts: id."""

    code = "not_found"


class Unauthenticated(DurableTasksError):
    """Nobody has proved who calls, or the proof is not accepted. Facts: none that would help to guess one."""

    code = "unauthenticated"


class Forbidden(DurableTasksError):
    """The caller is known, and may not do this. Facts: operation, role (the least that may)."""

    code = "forbidden"


class Conflict(DurableTasksError):
    """The current state refuses the call. Facts: task_id, state."""

    code = "conflict"


class IllegalMove(Conflict):
    """The task's state does not allow the verb. Facts: task_id, state, verb."""

    code = "illegal_move"


class AlreadyClaimed(Conflict):
    """Somebody else holds or reserved the task. Facts: task_id, state, assigned_to."""

    code = "already_claimed"


class StaleToken(Conflict):
    """The token is not the one of the current attempt. Facts: task_id, state."""

    code = "stale_token"


class VersionConflict(Conflict):
    """The row was edited since the caller read it. Facts: task_id, version, expected."""

    code = "version_conflict"


class IdempotencyConflict(Conflict):
    """The idempotency key was used with other content. Facts: key, operation, id."""

    code = "idempotency_conflict"


class RateLimited(DurableTasksError):
    """A caller, its organisation or its address asks for more than its share. Facts: retry_after (seconds)."""

    code = "rate_limited"


class QuotaExceeded(DurableTasksError):
    """There would be more of something than a quota of the settings allows. Nothing was stored. Facts: quota (the
    setting), limit, used, wanted, retry_after (seconds; None: room does not come by itself)."""

    code = "quota_exceeded"


class WaitTimeout(DurableTasksError, TimeoutError):
    """The wait ended before the task or workflow did. Facts: id, state, timeout (seconds)."""

    code = "wait_timeout"


class StoreError(DurableTasksError):
    """The SQLite file cannot serve the call."""

    code = "store_error"


class StoreBusy(StoreError):
    """Another connection held the write lock for too long. Facts: path, waited (seconds)."""

    code = "store_busy"


class StoreFull(StoreError):
    """The disk has no room for what was to be written. Nothing of the call was stored. Facts: path."""

    code = "store_full"


class StoreUnreadable(StoreError):
    """The file cannot be opened, read or written. Facts: path."""

    code = "store_unreadable"


class StoreCorrupt(StoreError):
    """SQLite says that the file is damaged or is no database. Facts: path."""

    code = "store_corrupt"


class StoreTooNew(StoreError):
    """A newer release has migrated the file. Facts: path, found, known."""

    code = "store_too_new"


class NetworkFileSystem(StoreError):
    """The file lies on a network file system, where SQLite's locks cannot be trusted. Facts: path, kind."""

    code = "network_file_system"


class Closed(DurableTasksError):
    """The instance is not running here: not started, stopped, another event loop, or after a fork."""

    code = "closed"


class ConfigurationError(DurableTasksError, ValueError):
    """A setting is wrong. Facts: setting, value."""

    code = "configuration"


class TemporalUnavailable(DurableTasksError):
    """Temporal cannot be reached or started. Facts: address."""

    code = "temporal_unavailable"


class ServerUnavailable(DurableTasksError):
    """The HTTP API did not answer a client, or could not serve it now. Facts: url, operation."""

    code = "server_unavailable"


class HandlerError(DurableTasksError):
    """Base of what a handler may raise to say what becomes of its task."""

    code = "handler"


class NonRetryable(HandlerError):
    """Raised by a handler: this failure is final, whatever retries remain."""

    code = "non_retryable"


class RetryAfter(HandlerError):
    """Raised by a handler: retry, but not sooner than `seconds` from now."""

    code = "retry_after"

    def __init__(self, seconds: float, message: str = "the handler asked for a later retry") -> None:
        super().__init__(message, seconds=seconds)
        self.seconds = seconds

    def __reduce__(self) -> tuple[Any, ...]:
        return (RetryAfter, (self.seconds, self.message))
