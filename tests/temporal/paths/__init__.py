"""Every path through our Temporal workflows, played on a real server with a scripted bridge, and its end.
The tests run them and the recorder keeps their histories, so that no path is tested without being replayed.
"""

from tests.temporal.paths import commands, embedded, external, groups, manual
from tests.temporal.paths.scene import WORKFLOWS, Path, Scene

TASK_PATHS: tuple[Path, ...] = (*embedded.PATHS, *manual.PATHS, *external.PATHS)
COMMAND_PATHS: tuple[Path, ...] = commands.PATHS
GROUP_PATHS: tuple[Path, ...] = groups.PATHS
PATHS = TASK_PATHS + COMMAND_PATHS + GROUP_PATHS

__all__ = ["COMMAND_PATHS", "GROUP_PATHS", "PATHS", "TASK_PATHS", "WORKFLOWS", "Path", "Scene"]
