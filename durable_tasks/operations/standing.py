"""Standing: operations that say who the caller is and how things stand, and mend what an operator may.

They must not know where the figures come from; the host does.
"""

from importlib.metadata import version

from durable_tasks.access import Role
from durable_tasks.diagnosis import OrgDiagnosis, discreet_text
from durable_tasks.models import Engine
from durable_tasks.operations import answers, requests
from durable_tasks.operations.operation import Caller
from durable_tasks.ports import DeadLetter
from durable_tasks.standing import Activity, Explanation, Queues


async def get_me(caller: Caller, request: requests.Nothing) -> answers.Me:
    """See who the caller is, what they may do, and what serves them."""
    host, principal = caller.host, caller.principal
    settings, durable = host.settings, host.engine is Engine.TEMPORAL
    return answers.Me(
        org=principal.org,
        subject=principal.subject,
        roles=tuple(role.name.lower() for role in Role if role in principal.roles),
        groups=tuple(sorted(principal.groups)),
        engine=host.engine,
        temporal_ui=settings.temporal_ui if durable else None,
        namespace=settings.namespace_of(principal.org) if durable else None,
        version=version("durable-tasks"),
    )


async def list_orgs(caller: Caller, request: requests.Nothing) -> answers.Orgs:
    """List the organisations that the caller may act in."""
    return answers.Orgs(items=(caller.principal.org,))


async def explain_task(caller: Caller, request: requests.OfTask) -> Explanation:
    """See why a task is not running."""
    explanation = await caller.org.explain(request.task_id)
    return explanation.model_copy(update={"error": discreet_text(explanation.error)})


async def list_queues(caller: Caller, request: requests.Nothing) -> Queues:
    """List where open work waits: how much of each sort, since when, and how much of it runs."""
    return await caller.org.list_queues()


async def measure_org(caller: Caller, request: requests.Nothing) -> Activity:
    """See what happened in the last hour, minute by minute, and how long tasks waited and ran."""
    return await caller.org.measure()


async def diagnose_org(caller: Caller, request: requests.Nothing) -> OrgDiagnosis:
    """See how the organisation stands, what of it waits and why, and where Temporal disagrees."""
    return await caller.host.diagnose(caller.principal.org)


async def redrive_dead_letter(caller: Caller, request: requests.OfDeadLetter) -> DeadLetter:
    """Send again what Temporal has refused; a task that failed of it is retried."""
    return await caller.host.redrive(request.letter_id, org=caller.principal.org, by=caller.principal.actor)
