"""`write_tree`: a module tree as ``make modules_install`` leaves it, before depmod has run."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from kmodkit.core.names import name_from_path, to_bytes

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from kmodkit.testing.builder import ModuleBuilder


def write_tree(
    root: str | os.PathLike[str],
    modules: Mapping[str, ModuleBuilder],
    *,
    order: Sequence[str] | None = None,
    builtin: Mapping[str, Sequence[tuple[str | bytes, str | bytes]]] | None = None,
) -> Path:
    """Write a module tree below ``root`` and return its path.

    ``modules`` maps paths below the root, without a suffix of compression, to the modules there. ``order`` is
    what ``modules.order`` lists, by default the paths as they come. ``builtin`` maps the paths that modules
    would have to the entries that ``modules.builtin.modinfo`` has for them; both lists are written only where
    it is given.

    >>> import tempfile
    >>> from kmodkit.scanner import scan
    >>> from kmodkit.testing import ModuleBuilder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tree = write_tree(folder, {"kernel/a.ko": ModuleBuilder("a", compression="gz")},
    ...                       builtin={"kernel/b.ko": [("alias", "cpu:*")]})
    ...     [(module.name, module.path) for module in scan(tree).catalog]
    [('a', 'kernel/a.ko.gz'), ('b', None)]
    """
    top = Path(root)
    top.mkdir(parents=True, exist_ok=True)
    for path, module in modules.items():
        module.write(top / PurePosixPath(path).parent / (PurePosixPath(path).name + _suffix(module)))
    _write_lines(top / "modules.order", modules if order is None else order)
    if builtin is not None:
        _write_lines(top / "modules.builtin", builtin)
        entries = (
            f"{name_from_path(path)}.".encode() + to_bytes(key) + b"=" + to_bytes(value) + b"\0"
            for path, pairs in builtin.items()
            for key, value in pairs
        )
        (top / "modules.builtin.modinfo").write_bytes(b"".join(entries))
    return top


def _suffix(module: ModuleBuilder) -> str:
    return f".{module.compression}" if module.compression else ""


def _write_lines(path: Path, lines: Sequence[str] | Mapping[str, object]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
