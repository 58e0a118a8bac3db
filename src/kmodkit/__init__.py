"""Linux kernel modules: read, index, look up, load and pack them.

The names below are loaded when they are first used, so that ``import kmodkit`` costs next to nothing.

>>> import kmodkit
>>> catalog = kmodkit.Catalog((
...     kmodkit.Module("ice", "ice.ko", ("gnss",), aliases=("pci:v00008086d00001591sv*sd*bc*sc*i*",)),
...     kmodkit.Module("gnss", "gnss.ko"),
... ))
>>> [module.name for module in catalog.lookup("pci:v00008086d00001591sv00001043sd000085F0bc02sc00i00")]
['ice']
>>> [module.name for module in catalog.closure(["ice"])]
['gnss', 'ice']
"""

from __future__ import annotations

__version__ = "0.1.0.dev0"

_HOMES = {
    "kmodkit.core.alias": ("Pattern",),
    "kmodkit.core.catalog": (
        "Catalog",
        "Module",
    ),
    "kmodkit.core.modinfo": (
        "ModuleInfo",
        "Parameter",
        "SoftDeps",
        "parse_builtin_modinfo",
        "parse_modinfo",
    ),
    "kmodkit.core.radix": ("RadixTree",),
    "kmodkit.core.rules": ("Rule",),
    "kmodkit.core.selection": (
        "Chosen",
        "Reason",
        "Selection",
    ),
    "kmodkit.core.signature": ("Signature",),
    "kmodkit.core.snapshot": (
        "Device",
        "Snapshot",
    ),
    "kmodkit.errors": (
        "ArgumentError",
        "CompressionError",
        "CpioError",
        "CycleError",
        "DependencyError",
        "ElfError",
        "FileError",
        "FormatError",
        "KmodError",
        "MetadataError",
        "MissingFirmwareError",
        "ModinfoError",
        "ModuleNotFoundError",
        "PatternError",
        "ScanError",
        "SelectionError",
        "SignatureError",
        "SnapshotError",
        "TreeError",
        "UnknownDependencyError",
        "WhenceError",
    ),
    "kmodkit.firmware": (
        "FirmwareSelection",
        "InstalledFirmware",
        "checkout_firmware",
        "listed_firmware",
        "resolve_firmware",
    ),
    "kmodkit.image": (
        "Image",
        "write_cpio",
        "write_directory",
        "write_tar",
    ),
    "kmodkit.installed": ("InstalledIndex",),
    "kmodkit.kernel.files": (
        "ModuleTree",
        "find_tree",
        "read_module",
        "read_signed_module",
    ),
    "kmodkit.kernel.snapshot": ("take_snapshot",),
    "kmodkit.scanner": (
        "ScanResult",
        "load_metadata",
        "open_metadata",
        "save_metadata",
        "scan",
    ),
    "kmodkit.update": (
        "MetadataUpdate",
        "update_metadata",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

TYPE_CHECKING = False  # as type checkers read it; `typing` itself takes as long to import as Python to start
if TYPE_CHECKING:
    from kmodkit.core.alias import Pattern
    from kmodkit.core.catalog import Catalog, Module
    from kmodkit.core.modinfo import ModuleInfo, Parameter, SoftDeps, parse_builtin_modinfo, parse_modinfo
    from kmodkit.core.radix import RadixTree
    from kmodkit.core.rules import Rule
    from kmodkit.core.selection import Chosen, Reason, Selection
    from kmodkit.core.signature import Signature
    from kmodkit.core.snapshot import Device, Snapshot
    from kmodkit.errors import (
        ArgumentError,
        CompressionError,
        CpioError,
        CycleError,
        DependencyError,
        ElfError,
        FileError,
        FormatError,
        KmodError,
        MetadataError,
        MissingFirmwareError,
        ModinfoError,
        ModuleNotFoundError,
        PatternError,
        ScanError,
        SelectionError,
        SignatureError,
        SnapshotError,
        TreeError,
        UnknownDependencyError,
        WhenceError,
    )
    from kmodkit.firmware import (
        FirmwareSelection,
        InstalledFirmware,
        checkout_firmware,
        listed_firmware,
        resolve_firmware,
    )
    from kmodkit.image import Image, write_cpio, write_directory, write_tar
    from kmodkit.installed import InstalledIndex
    from kmodkit.kernel.files import ModuleTree, find_tree, read_module, read_signed_module
    from kmodkit.kernel.snapshot import take_snapshot
    from kmodkit.scanner import ScanResult, load_metadata, open_metadata, save_metadata, scan
    from kmodkit.update import MetadataUpdate, update_metadata

__all__ = [
    "ArgumentError",
    "Catalog",
    "Chosen",
    "CompressionError",
    "CpioError",
    "CycleError",
    "DependencyError",
    "Device",
    "ElfError",
    "FileError",
    "FirmwareSelection",
    "FormatError",
    "Image",
    "InstalledFirmware",
    "InstalledIndex",
    "KmodError",
    "MetadataError",
    "MetadataUpdate",
    "MissingFirmwareError",
    "ModinfoError",
    "Module",
    "ModuleInfo",
    "ModuleNotFoundError",
    "ModuleTree",
    "Parameter",
    "Pattern",
    "PatternError",
    "RadixTree",
    "Reason",
    "Rule",
    "ScanError",
    "ScanResult",
    "Selection",
    "SelectionError",
    "Signature",
    "SignatureError",
    "Snapshot",
    "SnapshotError",
    "SoftDeps",
    "TreeError",
    "UnknownDependencyError",
    "WhenceError",
    "checkout_firmware",
    "find_tree",
    "listed_firmware",
    "load_metadata",
    "open_metadata",
    "parse_builtin_modinfo",
    "parse_modinfo",
    "read_module",
    "read_signed_module",
    "resolve_firmware",
    "save_metadata",
    "scan",
    "take_snapshot",
    "update_metadata",
    "write_cpio",
    "write_directory",
    "write_tar",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
