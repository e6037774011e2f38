"""`python -m durable_tasks.web.openapi`: the OpenAPI document on stdout, as docs/reference/openapi.json has it.

It must not need a file, a server or a setting.
"""

import json
import sys

from durable_tasks.app import DurableTasks
from durable_tasks.settings import Settings
from durable_tasks.web.app import create_app


def document() -> str:
    """The document as text."""
    app = create_app(DurableTasks(Settings.model_construct()), authenticate="none")
    return json.dumps(app.openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
