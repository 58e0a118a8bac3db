"""Keep the meta.pb of a tree up to date."""

from __future__ import annotations

from kmodkit.errors import KmodError, ScanError
from kmodkit.kernel.files import ModuleTree, find_tree, replace_file
from kmodkit.meta.search import MAX_METADATA
from kmodkit.scancache import ScanCache

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from dataclasses import dataclass
else:
    from kmodkit.core.values import dataclass


@dataclass(frozen=True, slots=True)
class MetadataUpdate:
    """What `update_metadata` did: counts of what the file holds, its size in bytes, and what was wrong.

    ``changed`` says whether the file was written. Where it was not, there was nothing wrong.
    """

    tree: ModuleTree
    size: int
    modules: int
    builtin: int
    aliases: int
    skipped: tuple[KmodError, ...] = ()
    problems: tuple[KmodError, ...] = ()
    changed: bool = True


def update_metadata(
    path: str | os.PathLike[str],
    tree: str | os.PathLike[str] | ModuleTree | None = None,
    *,
    cache: str | os.PathLike[str] | None = None,
    strict: bool = False,
    jobs: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> MetadataUpdate:
    """Write the meta.pb of a tree to ``path``, as `scan` and `save_metadata` do; with ``cache``, what has changed.

    The file is left as it is where it still is what was made from the same modules and lists.
    ``problems`` of the result are those between modules, ``skipped`` the files that could not be read. Raises what
    `scan` and `save_metadata` raise; with ``strict``, ScanError before anything is written.
    """
    found = tree if isinstance(tree, ModuleTree) else find_tree(tree)
    paths = found.module_paths()
    kept = None if cache is None else ScanCache(cache, found.root, paths)
    inputs = ""
    if kept is not None:
        lists = ("modules.order", "modules.builtin", "modules.builtin.modinfo")
        inputs = kept.inputs(map(found.read_text, lists), found.root)
        before = kept.up_to_date(inputs, path, max_size=MAX_METADATA)
        if before is not None and len(before) == 4:
            size, modules, builtin, aliases = before
            return MetadataUpdate(found, size, modules, builtin, aliases, changed=False)
    from kmodkit.scanner import encode_metadata, scan_paths  # what an index that is up to date does without

    result = scan_paths(found, paths, kept, jobs=jobs, progress=progress)
    problems = result.problems
    if strict and problems:
        raise ScanError(problems)
    data = encode_metadata(result.catalog)
    replace_file(path, data)
    loadable = [module for module in result.catalog if not module.builtin]
    update = MetadataUpdate(
        found,
        len(data),
        len(loadable),
        len(result.catalog) - len(loadable),
        sum(len(module.aliases) for module in loadable),
        result.skipped,
        problems[len(result.skipped) :],
    )
    if kept is not None:
        counts = update.size, update.modules, update.builtin, update.aliases
        kept.save(inputs, data, None if problems else counts)
    return update
