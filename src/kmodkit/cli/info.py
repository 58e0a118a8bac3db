"""Show what modules say of themselves, field by field as modinfo does.

A MODULE is a module's file, or the name (or an alias) of a module in the tree. The text is that of modinfo(8):
the file name, the fields in the file's order, what the signature says, and the parameters.

Exit status: 0 all were shown, 1 one was not found or could not be read, 2 the call's words are wrong.
"""

from __future__ import annotations

import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Final

from kmodkit.cli import common
from kmodkit.core.names import module_file_suffix, normalize_name
from kmodkit.errors import KmodError, ModuleNotFoundError, SignatureError
from kmodkit.kernel.files import find_tree, read_module, read_signed_module

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from kmodkit.core.catalog import Catalog
    from kmodkit.core.modinfo import ModuleInfo
    from kmodkit.core.signature import Signature
    from kmodkit.installed import InstalledIndex
    from kmodkit.kernel.files import ModuleTree

    Found = Iterator[tuple[str | None, ModuleInfo | None]]

_BYTES_A_LINE: Final = 20
_SIGNATURE_FIELDS: Final = ("sig_id", "signer", "sig_key", "sig_hashalgo", "signature")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("module", metavar="MODULE", nargs="+", help="a module file, or a module's name")
    fields = parser.add_mutually_exclusive_group()
    fields.add_argument("-F", "--field", metavar="FIELD", help="print only this field's values, a line each")
    for letter, field in (
        ("a", "author"),
        ("d", "description"),
        ("l", "license"),
        ("p", "parm"),
        ("n", "filename"),
    ):
        long = {"parm": "parameters"}.get(field, field)
        fields.add_argument(
            f"-{letter}",
            f"--{long}",
            dest="field",
            action="store_const",
            const=field,
            help=f"short for -F {field}",
        )
    parser.add_argument("-0", "--null", action="store_true", help="end values with NUL instead of a new line")
    parser.add_argument("--tree", metavar="DIR", help=common.TREE_HELP)
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print module information; status 1 where a module was not found or could not be read."""
    status = 0
    records: list[dict[str, object]] = []
    finder = Finder(args.tree)
    for name in args.module:
        try:
            for path, builtin in finder.find(name):
                info, signature = (builtin, None) if builtin else read(path or "")
                if args.json:
                    records.append(record(path, info, signature))
                else:
                    write(format_info(path, info, signature, field=args.field, null=args.null))
        except KmodError as error:
            print(f"kmodkit info: {error}", file=sys.stderr)
            status = 1
    if args.json:
        common.print_json(records)
    return status


def format_info(
    filename: str | None,
    info: ModuleInfo,
    signature: Signature | None,
    *,
    field: str | None = None,
    null: bool = False,
) -> str:
    """Return the text that modinfo(8) prints for a module.

    ``filename`` is None for a module that is built in; ``signature`` has its details filled in. With
    ``field``, only the values of that field; with ``null``, values end in NUL and most keys in ``=``, as there.
    """
    end = "\0" if null else "\n"
    out = []
    fields = _fields(filename, info, signature, alone=field == "parm")
    if field == "parmtype":
        fields = iter((field, value) for value in info.get_all(field))
    for key, value in fields:
        if field is not None:
            if key == field:
                out.append(value + end)
        elif null and not (key in ("filename", "parm") or (key == "name" and filename is None)):
            out.append(f"{key}={value}{end}")
        else:
            out.append(f"{key + ':':<16}{value}{end}")
    return "".join(out)


def _fields(
    filename: str | None, info: ModuleInfo, signature: Signature | None, *, alone: bool
) -> Iterator[tuple[str, str]]:
    """Yield the lines of modinfo as key and value, in its order; ``alone`` where it is asked for parameters."""
    if filename is None:
        yield "name", info.name
        yield "filename", "(builtin)"
    else:
        yield "filename", filename
    for key, value in info.entries:
        if key not in ("parm", "parmtype") and (filename is not None or key != "name"):
            yield key, value
    if signature is not None:
        yield "sig_id", signature.type
        yield "signer", signature.signer
        yield "sig_key", _hex(signature.key_id)
        yield "sig_hashalgo", signature.hash_algorithm
        rows = range(0, len(signature.blob), _BYTES_A_LINE)
        yield "signature", ":\n\t\t".join(_hex(signature.blob[row : row + _BYTES_A_LINE]) for row in rows)
    # modinfo puts each parameter it meets in front of the ones before.
    for parameter in reversed(info.parameters):
        if parameter.description is None:
            kind = f" ({parameter.type})" if alone else parameter.type
            yield "parm", f"{parameter.name}:{kind}"
        else:
            kind = f" ({parameter.type})" if parameter.type is not None else ""
            yield "parm", f"{parameter.name}:{parameter.description}{kind}"


def _hex(data: bytes) -> str:
    return data.hex(":").upper()


def read(
    path: str, field: str | None = None, *, warn: Callable[[str], None] = common.warn
) -> tuple[ModuleInfo, Signature | None]:
    """Read of a module file what is needed to show ``field``, by default everything.

    A signature that cannot be read is no reason to show nothing, and given to ``warn``.
    """
    if field is not None and field not in _SIGNATURE_FIELDS:
        return read_module(path), None
    try:
        info, signature = read_signed_module(path)
        return info, signature.details() if signature is not None else None
    except SignatureError as error:
        error.source = error.source or path
        warn(str(error))
        return read_module(path), None


def record(path: str | None, info: ModuleInfo, signature: Signature | None) -> dict[str, object]:
    """Return what is shown of a module in JSON."""
    fields: dict[str, list[str]] = {}
    for key, value in info.entries:
        if key not in ("parm", "parmtype"):
            fields.setdefault(key, []).append(value)
    return {
        "name": info.name,
        "filename": path,
        "fields": fields,
        "parameters": [parameter._asdict() for parameter in info.parameters],
        "signature": signature
        and {
            "id": signature.type,
            "signer": signature.signer,
            "key": _hex(signature.key_id),
            "hashalgo": signature.hash_algorithm,
            "signature": signature.blob.hex(),
        },
    }


def write(text: str) -> None:
    """Write text to standard output, as the bytes it was read from."""
    common.write_bytes(text.encode("utf-8", "surrogateescape"))


class Finder:
    """Finds modules by file or by name, in a tree that is looked at only when a name needs it.

    Names are looked up in the indexes that depmod left in the tree, and only where there are none in the modules.
    Either way what they mean is what modprobe takes them for.
    """

    def __init__(self, tree: str | ModuleTree | None) -> None:
        self._name = tree

    def find(self, name: str) -> Found:
        """Yield what ``name`` means: a file's path, or None and the information of what is built in.

        Raises ModuleNotFoundError where that is nothing, and TreeError where there is no tree.
        """
        if module_file_suffix(name) and (os.path.lexists(name) or "/" in name):
            yield name, None
        else:
            yield from self.named(name)

    def named(self, name: str) -> Found:
        """Yield what a name that is no file's means: of a module, of an alias, or of what is built in."""
        if self._index is None:
            path = self._files.get(normalize_name(name))
            yield from self._by_reading(name) if path is None else [(self._place(path), None)]
            return
        names = [name] if name in self._index else []
        if name.startswith("symbol:"):
            names = names or [*self._index.lookup_symbol(name)]
        names = names or [*self._index.lookup(name)]
        if names:
            for found in names:
                yield self._of_index(found)
            return
        builtins = [*self._index.lookup_builtin(name)] or [name] * self._index.builtin(name)
        for found in builtins:
            yield None, self._builtin_info(found)
        if not builtins:
            raise ModuleNotFoundError(name)

    def module(self, name: str) -> Found:
        """Yield what ``name`` means where it is a module's and neither a file's nor an alias."""
        wanted = normalize_name(name.partition(".")[0])
        path = self._files.get(wanted) if self._index is None else self._index.path(wanted)
        if path is not None:
            yield self._place(path), None
        elif wanted in self._builtin if self._index is None else self._index.builtin(wanted):
            yield None, self._builtin_info(wanted)
        else:
            raise ModuleNotFoundError(name)

    def _of_index(self, name: str) -> tuple[str | None, ModuleInfo | None]:
        path = self._index.path(name) if self._index is not None else None
        return (None, self._builtin_info(name)) if path is None else (self._place(path), None)

    def _place(self, path: str) -> str:
        # modules.dep has the whole path of a module that lies outside of the tree.
        return path if path.startswith("/") else f"{self._tree.root}/{path}"

    def _builtin_info(self, name: str) -> ModuleInfo:
        info = self._builtin.get(normalize_name(name))
        if info is None:
            raise ModuleNotFoundError(name)
        return info

    def _by_reading(self, name: str) -> Found:
        """Find an alias, or a module whose file is called differently: only reading all of them tells."""
        modules = self._catalog.resolve(name)
        if not modules:
            raise ModuleNotFoundError(name)
        for module in modules:
            if module.path is None:
                yield None, self._builtin_info(module.name)
            else:
                yield self._place(module.path), None

    @cached_property
    def _tree(self) -> ModuleTree:
        return find_tree(self._name) if self._name is None or isinstance(self._name, str) else self._name

    @cached_property
    def _index(self) -> InstalledIndex | None:
        if not os.path.exists(f"{self._tree.root}/modules.dep.bin"):  # noqa: PTH110 - called once a start
            return None
        from kmodkit.installed import InstalledIndex

        return InstalledIndex.open(self._tree)

    @cached_property
    def _files(self) -> dict[str, str]:
        from kmodkit.scanner import module_files  # brings threads along, which the indexes do without

        return module_files(self._tree)

    @cached_property
    def _builtin(self) -> dict[str, ModuleInfo]:
        from kmodkit.scanner import builtin_modules

        return {info.name: info for info in builtin_modules(self._tree)}

    @cached_property
    def _catalog(self) -> Catalog:
        result = common.scan_tree(self._tree.root)
        common.warn_skipped(result.skipped)
        return result.catalog
