"""What a failed call to Temporal means, and how long to wait before the next: pure functions over errors.
It must not know who called or what the call was for.
"""

import random
from enum import StrEnum

from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure, NotFoundFailure
from temporalio.service import RPCError, RPCStatusCode


class Fault(StrEnum):
    CLOSED = "closed"
    """The Temporal workflow exists and has ended."""
    MISSING = "missing"
    """The server knows no such Temporal workflow."""
    NAMESPACE = "namespace"
    """The namespace does not exist; nothing is said about the workflow."""
    FORBIDDEN = "forbidden"
    """The server refuses us; a person must act."""
    PERMANENT = "permanent"
    """The same call will fail for ever."""
    TRANSIENT = "transient"
    """The same call may succeed later."""


_BY_STATUS = {
    RPCStatusCode.ALREADY_EXISTS: Fault.CLOSED,
    RPCStatusCode.INVALID_ARGUMENT: Fault.PERMANENT,
    RPCStatusCode.PERMISSION_DENIED: Fault.FORBIDDEN,
    RPCStatusCode.UNAUTHENTICATED: Fault.FORBIDDEN,
}


def fault_of(error: RPCError | TimeoutError) -> Fault:
    if isinstance(error, TimeoutError):
        return Fault.TRANSIENT
    if error.status is RPCStatusCode.NOT_FOUND:
        return _not_found(error)
    # gRPC reports a message above its own limit as an exhausted resource, yet no retry will shrink it.
    if error.status is RPCStatusCode.RESOURCE_EXHAUSTED and "larger than max" in error.message:
        return Fault.PERMANENT
    return _BY_STATUS.get(error.status, Fault.TRANSIENT)


def _not_found(error: RPCError) -> Fault:
    """Three different facts share this status; an answer without Temporal's details tells none of them."""
    details = error.grpc_status.details
    if any(detail.Is(NamespaceNotFoundFailure.DESCRIPTOR) for detail in details):
        return Fault.NAMESPACE
    if not any(detail.Is(NotFoundFailure.DESCRIPTOR) for detail in details):
        return Fault.TRANSIENT
    return Fault.CLOSED if "already completed" in error.message else Fault.MISSING


def pause(tries: int, *, first: float = 0.2, longest: float = 30.0) -> float:
    """Seconds before try number `tries` + 1: exponential with full jitter, so that waiters spread out."""
    # The exponent is capped before the power can overflow.
    return random.uniform(first, max(first, min(longest, first * 2 ** min(tries, 30))))
