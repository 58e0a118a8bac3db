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
from kmodkit.scanner import builtin_modules, module_files

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from kmodkit.core.catalog import Catalog
    from kmodkit.core.modinfo import ModuleInfo
    from kmodkit.core.signature import Signature
    from kmodkit.kernel.files import ModuleTree

_BYTES_A_LINE: Final = 20


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
    finder = _Finder(args.tree)
    for name in args.module:
        try:
            for path, builtin in finder.find(name):
                info, signature = (builtin, None) if builtin else _read(path or "")
                if args.json:
                    records.append(_record(path, info, signature))
                else:
                    _write(format_info(path, info, signature, field=args.field, null=args.null))
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


def _read(path: str) -> tuple[ModuleInfo, Signature | None]:
    """Read a module file; a signature that cannot be read is no reason to show nothing."""
    try:
        info, signature = read_signed_module(path)
        return info, signature.details() if signature is not None else None
    except SignatureError as error:
        error.source = error.source or path
        common.warn(str(error))
        return read_module(path), None


def _record(path: str | None, info: ModuleInfo, signature: Signature | None) -> dict[str, object]:
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


def _write(text: str) -> None:
    common.write_bytes(text.encode("utf-8", "surrogateescape"))


class _Finder:
    """Finds modules by file or by name, in a tree that is looked at only when a name needs it."""

    def __init__(self, tree: str | None) -> None:
        self._name = tree

    def find(self, name: str) -> Iterator[tuple[str | None, ModuleInfo | None]]:
        """Yield what ``name`` means: a file's path, or None and the information of what is built in."""
        if module_file_suffix(name) and (os.path.lexists(name) or "/" in name):
            yield name, None
            return
        wanted = normalize_name(name)
        if wanted in self._files:
            yield f"{self._tree.root}/{self._files[wanted]}", None
        elif wanted in self._builtin:
            yield None, self._builtin[wanted]
        else:
            yield from self._by_reading(name)

    def _by_reading(self, name: str) -> Iterator[tuple[str | None, ModuleInfo | None]]:
        """Find an alias, or a module whose file is called differently: only reading all of them tells."""
        modules = self._catalog.resolve(name)
        if not modules:
            raise ModuleNotFoundError(name)
        for module in modules:
            if module.path is None:
                yield None, self._builtin[module.name]
            else:
                yield f"{self._tree.root}/{module.path}", None

    @cached_property
    def _tree(self) -> ModuleTree:
        return find_tree(self._name)

    @cached_property
    def _files(self) -> dict[str, str]:
        return module_files(self._tree)

    @cached_property
    def _builtin(self) -> dict[str, ModuleInfo]:
        return {info.name: info for info in builtin_modules(self._tree)}

    @cached_property
    def _catalog(self) -> Catalog:
        result = common.scan_tree(self._tree.root)
        common.warn_skipped(result)
        return result.catalog
