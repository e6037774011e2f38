"""`python -m durable_tasks` is the command `durable-tasks`.

It must not know any command.
"""

from durable_tasks.cli.main import main

if __name__ == "__main__":
    main()
