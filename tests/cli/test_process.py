"""The process of `serve`: what was loaded is not looked through by the collector again, and threads give way soon."""

from pathlib import Path

from durable_tasks.cli.process import SWITCH
from tests.cli.running import run

_SERVE = """
import gc, json, os, sys
from durable_tasks.cli import serve
def announce(facts):
    print(json.dumps([gc.get_freeze_count(), sys.getswitchinterval()]), flush=True)
    os._exit(0)
serve.announce = announce
serve.serve(port=0, as_json=True)
"""


async def test_what_was_loaded_to_serve_is_not_looked_through_again(tmp_path: Path) -> None:
    ended = await run(cwd=tmp_path, program=("-c", _SERVE))
    frozen, switch = ended.data
    assert frozen > 50_000
    assert switch == SWITCH
