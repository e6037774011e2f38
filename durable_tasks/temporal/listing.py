"""The listing: ids of our Temporal workflows that run, as the server's lists show them, a little at a time.
It must not know what they are for. Lists lag behind: what they say is a hint.
"""

import logging
from collections.abc import AsyncIterator, Callable, Collection

from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest
from temporalio.service import RPCError

from durable_tasks.contracts import MEMO_FILE, store_queue
from durable_tasks.temporal.namespaces import Namespaces

_log = logging.getLogger(__name__)

_PAGE = 200
_PAGES = 5
"""Of one namespace in one round; the next round goes on where this one stopped."""
_OTHERS = 10
"""Namespaces without a worker that one round looks at besides those with one."""


class Listing:
    """Remembers how far it has read in each namespace, so that it gets around whatever their size."""

    def __init__(self, namespaces: Namespaces, file_uuid: str, live: Callable[[], Collection[str]]) -> None:
        self._namespaces = namespaces
        self._file_uuid = file_uuid
        self._live = live
        self._tokens: dict[str, bytes] = {}
        self._last = ""

    def round(self) -> list[str]:
        """The namespaces to look at now: those with a worker, and a few of the others in turn."""
        live = set(self._live())
        others = [one.namespace for one in self._namespaces.report() if one.up and one.namespace not in live]
        after = [name for name in others if name > self._last]
        some = [*after, *others][: min(_OTHERS, len(others))]
        self._last = some[-1] if some else ""
        return [*(name for name in sorted(live) if self._namespaces.get(name).up), *some]

    async def ours(self, name: str) -> AsyncIterator[list[str]]:
        """Pages of workflow ids that carry this file's mark."""
        client = self._namespaces.get(name).client
        mark = client.data_converter.payload_converter.to_payload(self._file_uuid).data
        for _ in range(_PAGES):
            request = ListWorkflowExecutionsRequest(
                namespace=name,
                page_size=_PAGE,
                next_page_token=self._tokens.pop(name, b""),
                query=f'ExecutionStatus="Running" AND TaskQueue="{store_queue(self._file_uuid)}"',
            )
            try:
                call = client.workflow_service.list_workflow_executions(request)
                page = await self._namespaces.get(name).reach(call)
            except (RPCError, TimeoutError) as error:
                _log.info("cannot list what runs in the namespace %s: %r", name, error)
                return
            ids = [one.execution.workflow_id for one in page.executions if one.memo.fields[MEMO_FILE].data == mark]
            if ids:
                yield ids
            if not page.next_page_token:
                return
            self._tokens[name] = page.next_page_token
