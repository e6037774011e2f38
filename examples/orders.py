"""A shop with its own tables in the tasks' file: an order and the task that ships it exist both or neither.

Run it: `uvicorn --factory examples.orders:create`. It must not know how tasks are stored: `create_in` joins its
transaction.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

from durable_tasks import DurableTasks, Settings, Task, TaskContext

TABLES = """
CREATE TABLE IF NOT EXISTS stock (item TEXT PRIMARY KEY, pieces INTEGER NOT NULL CHECK (pieces >= 0));
CREATE TABLE IF NOT EXISTS orders (
  id INTEGER PRIMARY KEY, item TEXT NOT NULL, pieces INTEGER NOT NULL, state TEXT NOT NULL
);
INSERT OR IGNORE INTO stock VALUES ('shoes', 3);
"""


class NewOrder(BaseModel):
    item: str = Field(min_length=1, max_length=100)
    pieces: int = Field(1, ge=1)


class Order(NewOrder):
    id: int
    state: str
    task_id: str | None = None


def create() -> FastAPI:
    settings = Settings()
    tasks = DurableTasks(settings)

    @tasks.handler("order.ship")
    async def ship(ctx: TaskContext, task: Task) -> None:
        async with transaction(settings.db) as connection:
            await connection.execute("UPDATE orders SET state = 'shipped' WHERE id = ?", (task.input["order"],))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with connected(settings.db) as connection:
            await connection.executescript(TABLES)
        yield

    app = FastAPI(lifespan=lifespan)
    tasks.install(app, authenticate="none")

    @app.post("/orders", status_code=201)
    async def place(new: NewOrder) -> Order:
        async with transaction(settings.db) as connection:
            order = Order(**new.model_dump(), id=await insert(connection, new), state="placed")
            task = await tasks.org().create_in(
                connection, f"Ship {new.item}", capability="order.ship", input={"order": order.id}
            )
            await take_from_stock(connection, new)  # refuses after the task was made: it is gone with the order
        return order.model_copy(update={"task_id": task.id})

    @app.get("/orders")
    async def orders() -> list[Order]:
        async with connected(settings.db) as connection:
            rows = await connection.execute_fetchall("SELECT id, item, pieces, state FROM orders ORDER BY id")
        return [Order(id=row[0], item=row[1], pieces=row[2], state=row[3]) for row in rows]

    return app


async def insert(connection: aiosqlite.Connection, new: NewOrder) -> int:
    cursor = await connection.execute(
        "INSERT INTO orders (item, pieces, state) VALUES (?, ?, 'placed')", (new.item, new.pieces)
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


async def take_from_stock(connection: aiosqlite.Connection, new: NewOrder) -> None:
    cursor = await connection.execute(
        "UPDATE stock SET pieces = pieces - ? WHERE item = ? AND pieces >= ?", (new.pieces, new.item, new.pieces)
    )
    if cursor.rowcount == 0:
        raise HTTPException(409, f"there are not {new.pieces} {new.item} left")


@asynccontextmanager
async def transaction(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    """Commits at the end of the block, unless it raises."""
    async with connected(path) as connection:
        await connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            await connection.rollback()
            raise
        await connection.commit()


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    async with aiosqlite.connect(path, isolation_level=None, timeout=30) as connection:
        await connection.execute("PRAGMA synchronous=FULL")
        yield connection
