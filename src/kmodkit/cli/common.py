"""What the verbs share: where modules come from, and JSON."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable
    from typing import Protocol

    from kmodkit.core.catalog import Catalog, Module
    from kmodkit.core.selection import Reason
    from kmodkit.errors import KmodError
    from kmodkit.scanner import ScanResult

    class Source(Protocol):
        """What `add_source` adds to a verb's words."""

        @property
        def meta(self) -> str | None: ...  # noqa: D102
        @property
        def tree(self) -> str | None: ...  # noqa: D102


TREE_HELP = (
    "a module tree: /lib/modules/RELEASE, a root or unpacked kernel package that holds one, or any directory of "
    ".ko files; default: the running kernel's"
)


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add ``--tree`` and ``--meta``, of which at most one may be given."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--tree", metavar="DIR", help=TREE_HELP)
    group.add_argument("--meta", metavar="FILE", help="a meta.pb file, as `kmodkit index` writes it")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON, one document")


def load_catalog(args: Source) -> Catalog:
    """Return the catalog that ``--tree`` or ``--meta`` names, by default the running kernel's."""
    from kmodkit.scanner import open_metadata

    if args.meta is not None:
        return open_metadata(args.meta)
    result = scan_tree(args.tree)
    warn_skipped(result.skipped)
    return result.catalog


def scan_tree(tree: str | None, *, strict: bool = False, jobs: int | None = None) -> ScanResult:
    """Scan a tree, with a progress bar where standard error is a terminal."""
    from kmodkit.cli.progress import progress_bar
    from kmodkit.scanner import scan

    with progress_bar("reading modules") as update:
        return scan(tree, strict=strict, jobs=jobs, progress=update)


def warn_skipped(skipped: Iterable[KmodError]) -> None:
    """Name on standard error each file that was skipped."""
    for error in skipped:
        warn(f"skipped {error}")


def warn(text: str) -> None:
    """Print a warning on standard error."""
    print(f"kmodkit: warning: {text}", file=sys.stderr)


def write_bytes(data: bytes) -> None:
    """Write bytes to standard output, all of them."""
    sys.stdout.flush()
    rest = memoryview(data)
    # Where Python runs unbuffered, a write may take only a part; the next one then says what is wrong.
    while rest:
        rest = rest[sys.stdout.buffer.write(rest) :]


def print_json(value: object) -> None:
    """Print ``value`` as JSON; bytes that are no text come out as the escapes of surrogates (U+DC80 and up)."""
    import json  # 3 ms, of no use to most calls

    print(json.dumps(value, indent=2))


def module_json(module: Module) -> dict[str, str | None]:
    """Return how a module is named in JSON."""
    return {"name": module.name, "path": module.path}


def bytes_text(size: int) -> str:
    """Return a number of bytes as people read it.

    >>> bytes_text(999), bytes_text(5_300_000)
    ('999 B', '5.1 MiB')
    """
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def reason_json(reason: Reason) -> dict[str, str]:
    """Return why a module is in an image, as JSON has it."""
    return {"module": reason.module, "kind": reason.kind, "subject": reason.subject, "via": reason.via}
