"""Commands repeated, reordered, racing each other or the end of their task: one effect each, and always an answer.
It must not know how commands are obeyed; it compares SQLite, the events and the Temporal workflow.
"""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.service import RPCError, RPCStatusCode

from durable_tasks.errors import AlreadyClaimed, Conflict, StaleToken
from durable_tasks.models import Claim, Task, TaskState
from durable_tasks.temporal.server import EmbeddedServer
from tests.faults.checker import faults
from tests.faults.figures import count, keep
from tests.faults.outside import SECONDS, Owner

AT_ONCE = 10
"""As many updates as the server lets one workflow have under way."""
ANSWERED = 20.0
"""Seconds within which every command has its answer."""
ENDS = {
    TaskState.COMPLETED: WorkflowExecutionStatus.COMPLETED,
    TaskState.FAILED: WorkflowExecutionStatus.FAILED,
    TaskState.CANCELLED: WorkflowExecutionStatus.CANCELED,
}

Handle = WorkflowHandle[Any, Any]
Payload = dict[str, Any]


@pytest.fixture
def owner(tmp_path: Path, temporal_server: EmbeddedServer) -> Owner:
    return Owner(tmp_path / "tasks.db", enabled=True, address=temporal_server.address)


async def handle_of(owner: Owner, task: Task) -> Handle:
    client: Client = owner.tasks.durable.client_for_org()
    return client.get_workflow_handle(f"task/{task.id}/{task.generation}")


async def waiting(owner: Owner, title: str = "by hand") -> tuple[Task, Handle]:
    """A manual task, and its Temporal workflow that runs."""
    task = await owner.org.create(title, mode="manual")
    await owner.started_there(task.id)
    return task, await handle_of(owner, task)


async def ask(handle: Handle, verb: str, payload: Payload, *, tries: int = 10) -> Any:
    """What an update is answered: the result, or the refusal's type. Nothing else, and in time.

    `tries`: Temporal takes no update at the instant at which it has news for a workflow that wants to end; the sender
    is told to send it again."""
    name = str(uuid.uuid4())
    try:
        async with asyncio.timeout(ANSWERED):
            return await handle.execute_update(verb, payload, id=name)
    except WorkflowUpdateFailedError as refusal:
        return refusal.cause.type if isinstance(refusal.cause, ApplicationError) else repr(refusal.cause)
    except RPCError as error:
        if error.status is RPCStatusCode.FAILED_PRECONDITION and tries > 1:
            return await ask(handle, verb, payload, tries=tries - 1)
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return "closed"


async def tell(handle: Handle, verb: str, payload: Payload) -> None:
    """Send a signal; to a workflow that has ended it cannot be sent."""
    try:
        await handle.signal(verb, payload)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise


async def agrees(owner: Owner, task: Task, handle: Handle) -> Task:
    """The task as it ended, once its Temporal workflow has ended alike."""
    done = await owner.org.wait(task.id, timeout=SECONDS)
    async with asyncio.timeout(SECONDS):
        (end,) = await asyncio.gather(handle.result(), return_exceptions=True)
    if done.state is TaskState.COMPLETED:
        assert end == done.output
    else:
        assert isinstance(end, WorkflowFailureError)
        if done.error is None:
            assert isinstance(end.cause, CancelledError)
        else:
            assert isinstance(end.cause, ApplicationError)
            assert (end.cause.type, end.cause.message) == (done.error.type, done.error.message)
    assert (await handle.describe()).status is ENDS[done.state]
    return done


async def kinds(owner: Owner, task: Task) -> Counter[str]:
    return Counter(event.kind for event in await owner.org.events(task_id=task.id, limit=1000))


# ----- delivered again and again, and out of order


STORY: tuple[tuple[tuple[str, Payload], ...], ...] = (
    (
        ("claim", {"command_id": "c1", "agent_id": "bob", "lease": None}),
        ("progress", {"command_id": "c2", "agent_id": "bob", "percent": 30}),
        ("update", {"command_id": "c3", "fields": {"title": "renamed"}}),
    ),
    (("release", {"command_id": "c4", "agent_id": "bob"}),),
    (("claim", {"command_id": "c5", "agent_id": "eve", "lease": None}),),
    (("complete", {"command_id": "c6", "agent_id": "eve", "output": {"by": "eve"}}),),
)
"""What may be reordered stands together. Of each part all is obeyed before the next begins; copies come later too."""


async def test_repeated_commands_take_effect_once(owner: Owner) -> None:
    keep("repeated-commands-smoke", await repeat(owner, rounds=2, copies=20))


@pytest.mark.acceptance
async def test_commands_repeated_a_hundred_times_take_effect_once(owner: Owner) -> None:
    rounds = count("TASKS_ACCEPTANCE_COMMAND_ROUNDS", 20)
    keep("repeated-commands", await repeat(owner, rounds=rounds, copies=100))


async def repeat(owner: Owner, *, rounds: int, copies: int) -> dict[str, Any]:
    async with owner.tasks:
        once, handle = await waiting(owner)
        for part in STORY:
            for verb, payload in part:
                assert isinstance(await ask(handle, verb, payload, tries=1), dict)
        model = await agrees(owner, once, handle)
        wanted = await kinds(owner, once)
        for number in range(rounds):
            task, handle = await waiting(owner)
            await flood(owner, task, handle, copies, random.Random(number))
            done = await agrees(owner, task, handle)
            assert await kinds(owner, task) == wanted
            same = {"state", "output", "title", "attempt", "version", "assigned_to", "retry_count", "lost_count"}
            assert done.model_dump(include=same) == model.model_dump(include=same)
            assert await obeyed(owner, task) == [f"c{one}" for one in range(1, 7)]
        await owner.agree()
    assert faults(owner.tasks.settings.db) == []
    return {"rounds": rounds, "deliveries": rounds * copies * 6, "effects_each": 1}


async def obeyed(owner: Owner, task: Task) -> list[str]:
    """The ids of the commands that took effect."""
    sql = "SELECT command_id FROM dt_commands WHERE task_id = ? ORDER BY command_id"
    return await owner.tasks.store.read(lambda conn: [name for (name,) in conn.execute(sql, (task.id,))])


async def flood(owner: Owner, task: Task, handle: Handle, copies: int, rng: random.Random) -> None:
    """Every command so often, spread over its own part and all later ones, half of them as signals."""
    parts: list[list[tuple[str, Payload]]] = [[] for _ in STORY]
    for number, part in enumerate(STORY):
        for one in part:
            parts[number].append(one)
            for _ in range(copies - 1):
                parts[rng.randrange(number, len(STORY))].append(one)
    for part, deliveries in zip(STORY, parts, strict=True):
        rng.shuffle(deliveries)
        room = asyncio.Semaphore(AT_ONCE)
        answers: dict[str, list[Any]] = {}

        async def deliver(
            verb: str, payload: Payload, room: asyncio.Semaphore = room, answers: dict[str, list[Any]] = answers
        ) -> None:
            async with room:
                if rng.random() < 0.5:
                    await tell(handle, verb, payload)
                else:
                    answers.setdefault(payload["command_id"], []).append(await ask(handle, verb, payload))

        await asyncio.gather(*(deliver(*one) for one in deliveries))
        for verb, payload in part:  # what came too early was refused: it comes once more, as after a refusal
            last = await ask(handle, verb, payload)
            assert isinstance(last, dict) or (verb == "complete" and last == "closed"), (verb, last)
        for said in answers.values():
            assert all(isinstance(one, dict) or one in REFUSALS for one in said), said
            tokens = {one["token"] for one in said if isinstance(one, dict) and "token" in one}
            assert len(tokens) <= 1


REFUSALS = {"already_claimed", "illegal_move", "stale_token", "conflict", "closed"}


# ----- cancel against complete


Racer = Callable[[Owner, Claim, Handle], Awaitable[Any]]


async def api_cancel(owner: Owner, claim: Claim, handle: Handle) -> None:
    with suppress(Conflict):
        await owner.org.cancel(claim.task.id, reason="a race")


async def api_complete(owner: Owner, claim: Claim, handle: Handle) -> None:
    with suppress(Conflict):
        await owner.org.complete(claim.task.id, "done", token=claim.token)


async def update_cancel(owner: Owner, claim: Claim, handle: Handle) -> None:
    await ask(handle, "cancel", {"reason": "a race"})


async def update_complete(owner: Owner, claim: Claim, handle: Handle) -> None:
    await ask(handle, "complete", {"token": claim.token, "output": "done"})


async def signal_cancel(owner: Owner, claim: Claim, handle: Handle) -> None:
    await tell(handle, "cancel", {"reason": "a race"})


async def signal_complete(owner: Owner, claim: Claim, handle: Handle) -> None:
    await tell(handle, "complete", {"agent_id": claim.task.assigned_to, "output": "done"})


async def request_cancel(owner: Owner, claim: Claim, handle: Handle) -> None:
    """As Temporal's own cancel button does."""
    with suppress(RPCError):
        await handle.cancel()


CANCELS: tuple[Racer, ...] = (api_cancel, update_cancel, signal_cancel, request_cancel)
COMPLETES: tuple[Racer, ...] = (api_complete, update_complete, signal_complete)


async def test_of_cancel_and_complete_one_wins(owner: Owner) -> None:
    keep("cancel-against-complete-smoke", await race(owner, races=24))


@pytest.mark.acceptance
async def test_of_cancel_and_complete_one_wins_500_times(owner: Owner) -> None:
    keep("cancel-against-complete", await race(owner, races=count("TASKS_ACCEPTANCE_RACES", 500)))


async def race(owner: Owner, *, races: int) -> dict[str, Any]:
    pairs = [(cancel, complete) for cancel in CANCELS for complete in COMPLETES]
    won: Counter[str] = Counter()
    async with owner.tasks:
        room = asyncio.Semaphore(8)

        async def one(number: int) -> None:
            async with room:
                task, handle = await waiting(owner, f"race {number}")
                claim = await owner.org.claim(task.id, agent_id="bob", lease=None)
                racers = list(pairs[number % len(pairs)])
                random.shuffle(racers)
                await asyncio.gather(*(racer(owner, claim, handle) for racer in racers))
                done = await agrees(owner, task, handle)
                seen = await kinds(owner, task)
                assert seen["task.completed"] + seen["task.cancelled"] == 1, seen
                assert (done.output == "done") is (done.state is TaskState.COMPLETED)
                won[done.state] += 1

        async with asyncio.TaskGroup() as group:
            for number in range(races):
                group.create_task(one(number))
        await owner.agree()
    assert faults(owner.tasks.settings.db) == []
    assert sum(won.values()) == races
    assert set(won) == {TaskState.COMPLETED, TaskState.CANCELLED}, "a race that one side always wins is none"
    return {"races": races, "won": dict(won), "disagreements": 0}


# ----- a command at the instant of the end


async def test_a_command_at_the_instant_of_the_end_is_answered(owner: Owner) -> None:
    keep("commands-at-the-end-smoke", await at_the_end(owner, rounds=10))


@pytest.mark.acceptance
async def test_two_hundred_commands_at_the_instant_of_the_end_are_answered(owner: Owner) -> None:
    keep("commands-at-the-end", await at_the_end(owner, rounds=count("TASKS_ACCEPTANCE_AT_THE_END", 200)))


async def at_the_end(owner: Owner, *, rounds: int) -> dict[str, Any]:
    answers: Counter[str] = Counter()
    rng = random.Random(rounds)
    async with owner.tasks:
        for number in range(rounds):
            task, handle = await waiting(owner)
            claim = await owner.org.claim(task.id, agent_id="bob", lease=None)
            end = rng.choice((api_complete, update_complete, signal_complete))
            commands: list[tuple[str, Payload]] = [
                ("progress", {"token": claim.token, "percent": 10}),
                ("update", {"fields": {"title": f"late {number}"}}),
                ("claim", {"agent_id": "eve"}),
                ("fail", {"token": claim.token, "error": "late", "retryable": False}),
                ("complete", {"token": claim.token, "output": "done"}),
            ]
            rng.shuffle(commands)
            asked = [asyncio.create_task(ask(handle, *command)) for command in commands]
            asked.insert(rng.randrange(len(asked)), asyncio.ensure_future(end(owner, claim, handle)))
            for answer in await asyncio.gather(*asked):
                assert answer is None or isinstance(answer, dict) or answer in REFUSALS, answer
                if answer is not None:
                    answers["obeyed" if isinstance(answer, dict) else answer] += 1
            done = await agrees(owner, task, handle)
            assert done.state in (TaskState.COMPLETED, TaskState.FAILED)
            assert await ask(handle, "complete", {"token": claim.token}) == "closed"
        await owner.agree()
    assert faults(owner.tasks.settings.db) == []
    return {"rounds": rounds, "answers": dict(answers), "unanswered": 0}


# ----- too late


async def test_the_token_of_a_lapsed_claim_is_refused(owner: Owner) -> None:
    await lapse(owner, rounds=2)


@pytest.mark.acceptance
async def test_the_tokens_of_twenty_lapsed_claims_are_refused(owner: Owner) -> None:
    await lapse(owner, rounds=count("TASKS_ACCEPTANCE_COMMAND_ROUNDS", 20))


async def lapse(owner: Owner, *, rounds: int) -> None:
    async with owner.tasks:
        for _ in range(rounds):
            task, handle = await waiting(owner)
            early = await ask(handle, "claim", {"agent_id": "bob", "lease": 1})
            await owner.committed(lambda t=task: state_of(owner, t), TaskState.PENDING)  # type: ignore[misc]
            assert await ask(handle, "complete", {"token": early["token"], "output": "late"}) in REFUSALS
            late = await ask(handle, "claim", {"agent_id": "eve", "lease": None})
            for verb, payload in (("complete", {"output": "late"}), ("fail", {"error": "late"}), ("release", {})):
                assert await ask(handle, verb, {"token": early["token"], **payload}) == StaleToken.code
                assert await ask(handle, verb, {"agent_id": "bob", **payload}) == AlreadyClaimed.code
            assert await ask(handle, "progress", {"token": early["token"], "percent": 1}) == StaleToken.code
            assert isinstance(
                await ask(handle, "complete", {"token": late["token"], "output": "in time"}, tries=1), dict
            )
            done = await agrees(owner, task, handle)
            assert (done.output, done.attempt, done.assigned_to) == ("in time", 2, "eve")
        await owner.agree()
    assert faults(owner.tasks.settings.db) == []


async def state_of(owner: Owner, task: Task) -> TaskState:
    return (await owner.org.get(task.id)).state


# ----- many agents


async def test_of_twenty_agents_one_claims(owner: Owner) -> None:
    await stampede(owner, rounds=2)


@pytest.mark.acceptance
async def test_of_twenty_agents_one_claims_each_time(owner: Owner) -> None:
    rounds = count("TASKS_ACCEPTANCE_COMMAND_ROUNDS", 20)
    won = await stampede(owner, rounds=rounds)
    keep("claims-by-twenty", {"rounds": rounds, "won_by": dict(won), "double_claims": 0})


async def stampede(owner: Owner, *, rounds: int) -> Counter[str]:
    """Seven over the API, seven by signals and six by updates."""
    won: Counter[str] = Counter()
    async with owner.tasks:
        for _ in range(rounds):
            task, handle = await waiting(owner)

            async def claim(agent: str, t: Task = task, handle: Handle = handle) -> str | None:
                """The token of the one that knows that it has won."""
                if agent.startswith("signal"):
                    await tell(handle, "claim", {"agent_id": agent, "lease": None})
                    return None
                if agent.startswith("update"):
                    answer = await ask(handle, "claim", {"agent_id": agent, "lease": None})
                    return str(answer["token"]) if isinstance(answer, dict) else None
                with suppress(AlreadyClaimed):
                    return (await owner.org.claim(t.id, agent_id=agent, lease=None)).token
                return None

            agents = [f"{('api', 'signal', 'update')[number % 3]} {number}" for number in range(20)]
            random.shuffle(agents)
            tokens = dict(zip(agents, await asyncio.gather(*map(claim, agents)), strict=True))
            await owner.committed(lambda t=task: state_of(owner, t), TaskState.CLAIMED)  # type: ignore[misc]
            winner = (await owner.org.get(task.id)).assigned_to
            assert winner in agents
            assert [agent for agent, token in tokens.items() if token] == ([] if winner[0] == "s" else [winner])
            await ask(handle, "complete", {"agent_id": winner, "output": winner})
            # It has ended only when every signal has had its answer.
            done = await agrees(owner, task, handle)
            assert (done.output, done.attempt) == (winner, 1)
            assert (await kinds(owner, task))["task.claimed"] == 1
            won[winner.split()[0]] += 1
        await owner.agree()
    assert faults(owner.tasks.settings.db) == []
    return won
