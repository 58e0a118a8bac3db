"""depmod.d(5): which of several files with one module name to take, and where else to look.

Lines are ``search DIRECTORY...``, ``override MODULE RELEASE DIRECTORY``, ``external RELEASE DIRECTORY`` and
``exclude NAME...``; RELEASE is a regular expression for the kernel's release, or ``*``. (``include`` and
``make_map_files`` are known and do nothing, as in kmod.) A line that ends in a backslash goes on in the next one.
"""

from __future__ import annotations

from kmodkit.core.names import to_text

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from dataclasses import dataclass
    from typing import Final, NamedTuple
else:
    from kmodkit.core.values import NamedTuple, dataclass

BUILTIN: Final = "built-in"
EXTERNAL: Final = "external"
DIRECTORIES: Final = (
    "/etc/depmod.d",
    "/run/depmod.d",
    "/usr/local/lib/depmod.d",
    "/usr/lib/depmod.d",
    "/lib/depmod.d",
)
"""Where files are. The first one with a name hides others with it; all are read in the order of their names."""


class Override(NamedTuple):
    """The file of ``module`` below ``directory`` is the one to take, for kernels whose release matches."""

    module: str
    release: str
    directory: str


class External(NamedTuple):
    """A directory outside of the tree that has modules for kernels whose release matches."""

    release: str
    directory: str


@dataclass(frozen=True, slots=True)
class DepmodConfig:
    """What depmod.d says, in its order.

    ``search`` lists directories below the module tree, the first one the one to prefer; ``built-in`` stands for
    all that are not listed and ``external`` for those of ``externals``. ``problems`` has a line for each bad line.
    """

    search: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()
    externals: tuple[External, ...] = ()
    excludes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @classmethod
    def parse(cls, files: Iterable[tuple[str, bytes]]) -> DepmodConfig:
        r"""Return what ``files``, pairs of a name and contents, say one after the other.

        >>> DepmodConfig.parse([("/etc/depmod.d/x.conf", b"search updates built-in\n")]).search
        ('updates', 'built-in')
        """
        search: list[str] = []
        overrides: list[Override] = []
        externals: list[External] = []
        excludes: list[str] = []
        problems: list[str] = []
        for name, data in files:
            for number, words in _lines(to_text(data)):
                keyword, rest = words[0], words[1:]
                if keyword == "search":
                    search += rest
                elif keyword == "exclude":
                    excludes += rest
                elif keyword == "override" and len(rest) >= 3:
                    overrides.append(Override(*rest[:3]))
                elif keyword == "external" and len(rest) >= 2:
                    externals.append(External(*rest[:2]))
                elif keyword not in ("include", "make_map_files"):
                    problems.append(f"{name}:{number}: ignoring bad line starting with '{keyword}'")
        return cls(tuple(search), tuple(overrides), tuple(externals), tuple(excludes), tuple(problems))

    def for_release(self, release: str) -> DepmodConfig:
        """Return what is said for the kernel ``release``, with the search order that holds where none is given."""
        return DepmodConfig(
            self.search or ("updates",),
            tuple(found for found in self.overrides if release_matches(found.release, release)),
            tuple(found for found in self.externals if release_matches(found.release, release)),
            self.excludes,
            self.problems,
        )

    def prefers(self, new: str, old: str) -> bool:
        """Return whether of two files with one module name the second one found, ``new``, is the one to take.

        Paths are relative to the tree, or absolute for those outside, and both without ``.ko`` and what follows.
        Call it on what `for_release` returns. As in kmod, a later override counts before an earlier
        one; of two files below one directory of ``search`` the second one is taken, of two others the first.
        """
        for override in reversed(self.overrides):
            place = f"{override.directory}/{override.module}"
            if new == place:
                return True
            if old == place:
                return False
        ranks = {"": -1, new: -1, old: -1}
        rank = 0
        for directory in reversed(self.search):
            if directory == BUILTIN:
                ranks[""] = rank
            elif directory == EXTERNAL:
                for external in reversed(self.externals):
                    for path in (new, old):
                        if path.startswith(external.directory + "/"):
                            ranks[path] = rank
                    rank += 1
            else:
                for path in (new, old):
                    if path.startswith(directory + "/"):
                        ranks[path] = rank
                        break
            rank += 1
        new_rank, old_rank = (ranks[""] if ranks[path] < 0 else ranks[path] for path in (new, old))
        return new_rank > old_rank


def release_matches(pattern: str, release: str) -> bool:
    """Return whether a kernel's release matches; an expression that is none matches nothing."""
    if pattern == "*":
        return True
    import re  # with what it imports, a quarter of what an incremental run of depmod starts with

    try:
        return re.search(pattern, release) is not None
    except (re.error, OverflowError, RecursionError):
        return False


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the words of each line that says something, with the number of its last line."""
    whole = ""
    for number, line in enumerate(text.split("\n"), 1):
        whole += line
        if whole.endswith("\\"):
            whole = whole[:-1]
            continue
        words = whole.replace("\t", " ").split(" ")
        if not whole.startswith("#") and any(words):
            yield number, [word for word in words if word]
        whole = ""
