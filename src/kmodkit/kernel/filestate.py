"""What stat(2) says of a file that changes when its contents do, and whether that can be relied on."""

from __future__ import annotations

import os

from kmodkit.core.modcache import FileState

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

# A file can change twice within one tick of the kernel's clock and keep its times: 10 ms at most, and two seconds
# on file systems that keep whole ones.
_TICK: Final = 20_000_000
_COARSE_TICK: Final = 2_000_000_000


def file_state(path: str) -> FileState | None:
    """Return the state of the file that ``path`` leads to, None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - one for each module
    except OSError:
        return None
    return FileState(
        status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev & (2**64 - 1)
    )


def settled(states: Iterable[FileState | None], now: int) -> bool:
    """Return whether a change of any of the files from ``now`` on, in nanoseconds, would be seen.

    A file that is not there is not settled, and a time to come says that the clock was set back.
    """
    return all(state is not None and is_past(state.ctime, now) for state in states)


def is_past(changed: int, now: int) -> bool:
    """Return whether a tick of the clock has passed since a file changed; both times in nanoseconds."""
    return changed + (_TICK if changed % 1_000_000_000 else _COARSE_TICK) < now
