"""Login: by which name events record whoever gives a command on a file.

It must not know the commands. Nobody proves the name: whoever may open the file may write into it whatever he likes.
"""

import getpass
import os


def logged_in() -> str:
    """The user's name, else his number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # in containers nobody may have written down who runs there
        return f"uid {os.getuid()}"
