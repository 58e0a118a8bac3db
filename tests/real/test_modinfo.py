"""What modules say of themselves, beside the real modinfo."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, TypeAlias

import pytest

from kmodkit import ModuleInfo, Signature, find_tree
from kmodkit.cli.info import format_info
from kmodkit.kernel.files import read_signed_module
from kmodkit.scanner import builtin_modules
from tests.require import need

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.real.conftest import Depmodded
    from tools.material import Kernel

Read: TypeAlias = dict[str, tuple[ModuleInfo, Signature | None]]

# Built into Debian's kernels, and shown otherwise by modinfo on purpose. debugfs and tracefs can be no modules, so
# modinfo does not know the names; crc32 is an alias of modules too, which it shows instead.
OTHERWISE = {"debugfs", "tracefs", "crc32"}


def read(path: str) -> tuple[ModuleInfo, Signature | None]:
    """Return all that one module file says."""
    info, signature = read_signed_module(path)
    return info, signature.details() if signature else None


def modinfo(argv: Sequence[str], *words: str) -> bytes:
    """Return what modinfo prints."""
    return subprocess.run([*argv, *words], check=True, stdout=subprocess.PIPE).stdout


@pytest.fixture(scope="module")
def machine_modinfo() -> list[str]:
    """The machine's modinfo; /sbin is not on every user's PATH."""
    found = shutil.which("modinfo") or shutil.which("modinfo", path="/usr/sbin:/sbin")
    return [need(found, "modinfo is not there", "kmod") or ""]


@pytest.fixture(scope="module")
def modules(bookworm: Kernel) -> Read:
    """Every module of the kernel with plain modules, by its file."""
    return {path: read(path) for path in sorted(map(str, bookworm.module_files()))}


def ours(modules: Read, *, field: str | None = None, null: bool = False) -> bytes:
    """Return the text of all ``modules``."""
    texts = (format_info(path, *found, field=field, null=null) for path, found in modules.items())
    return "".join(texts).encode("utf-8", "surrogateescape")


OPTIONS = [
    ("", ""),
    ("-0", ""),
    ("", "parm"),
    ("", "parmtype"),
    ("", "alias"),
    ("-0", "signature"),
    ("", "nothing"),
]


@pytest.mark.parametrize(("null", "field"), OPTIONS)
def test_the_text_is_modinfos_letter_by_letter(
    modules: Read, machine_modinfo: list[str], null: str, field: str
) -> None:
    """Of every module, whole, field by field and with NULs."""
    options = [null] * bool(null) + ["-F", field] * bool(field)
    assert ours(modules, field=field or None, null=bool(null)) == modinfo(machine_modinfo, *options, *modules)


def test_every_field_has_modinfos_values(modules: Read, machine_modinfo: list[str]) -> None:
    """All keys of all modules have the values modinfo gives, in its order, in the accessors as well."""
    printed = by_module(modinfo(machine_modinfo, "-0", *modules))
    assert [path for path, _ in printed] == list(modules)
    for path, fields in printed:
        info, signature = modules[path]
        for key in {*info.keys(), *fields} - {"parm", "parmtype", *SIGNATURE}:
            assert list(info.get_all(key)) == fields[key], (path, key)
        check_accessors(info, fields)
        check_signature(signature, fields)


def by_module(printed: bytes) -> list[tuple[str, dict[str, list[str]]]]:
    """Return file and fields of each module that ``modinfo -0`` printed."""
    found: list[tuple[str, dict[str, list[str]]]] = []
    for entry in printed.decode("utf-8", "surrogateescape").split("\0")[:-1]:
        if entry.startswith("filename:"):
            found.append((entry[16:], {}))
        else:
            # Parameters are written with a colon, as in the text for people.
            key, _, value = ("parm", "", entry[16:]) if entry.startswith("parm:") else entry.partition("=")
            found[-1][1].setdefault(key, []).append(value)
    return found


SIGNATURE = ("sig_id", "signer", "sig_key", "sig_hashalgo", "signature")


def check_accessors(info: ModuleInfo, fields: Mapping[str, list[str]]) -> None:
    """Assert that the properties of ``info`` say what modinfo's fields do."""
    values = {key: tuple(found) for key, found in fields.items()}
    assert (info.name,) == values["name"]
    assert info.authors == values.get("author", ())
    assert info.licenses == values.get("license", ())
    assert info.aliases == values.get("alias", ())
    assert info.firmware == values.get("firmware", ())
    assert info.import_ns == values.get("import_ns", ())
    assert (info.vermagic,) == values["vermagic"]
    for key in ("description", "version", "srcversion"):
        assert getattr(info, key) == next(iter(values.get(key, ())), None)
    assert info.intree == (values.get("intree") == ("Y",))
    assert info.depends == tuple(name.replace("-", "_") for name in values["depends"][0].split(",") if name)
    assert [parameter.name for parameter in info.parameters] == [
        text.partition(":")[0] for text in reversed(values.get("parm", ()))
    ]


def check_signature(signature: Signature | None, fields: Mapping[str, list[str]]) -> None:
    """Assert that ``signature`` says what modinfo's fields do."""
    assert (signature is None) == ("sig_id" not in fields)
    if signature is not None:
        assert [signature.type] == fields["sig_id"]
        assert [signature.signer] == fields["signer"]
        assert [signature.hash_algorithm] == fields["sig_hashalgo"]
        assert signature.key_id == bytes.fromhex(fields["sig_key"][0].replace(":", ""))
        lines = fields["signature"][0].replace("\n\t\t", "")
        assert signature.blob == bytes.fromhex(lines.replace(":", ""))


def test_compressed_modules_of_every_kernel(kernel: Kernel, trixie_tool: Callable[[str], list[str]]) -> None:
    """Trixie's modinfo and we say the same of every 25th module, whatever its architecture."""
    found = {path: read(path) for path in sorted(map(str, kernel.module_files()))[::25]}
    assert ours(found) == modinfo(trixie_tool("modinfo"), *found)


@pytest.mark.parametrize("field", ["", "parm", "filename", "name", "license"])
def test_what_is_built_in(bookworm: Kernel, depmodded: Depmodded, machine_modinfo: list[str], field: str) -> None:
    """Modules of the kernel image are shown as modinfo shows them, which names no file."""
    infos = [info for info in builtin_modules(find_tree(bookworm.root)) if info.name not in OTHERWISE]
    assert len(infos) > 100
    argv = [*machine_modinfo, "-b", str(depmodded(bookworm)), "-k", bookworm.release]
    options = ["-F", field] * bool(field)
    for info in infos:
        text = format_info(None, info, None, field=field or None)
        assert text.encode() == modinfo(argv, *options, info.name), info.name
