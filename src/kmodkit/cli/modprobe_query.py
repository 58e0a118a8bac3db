"""What modprobe prints without loading anything: the configuration, symbols of a file, and explanations."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from kmodkit.cli.common import print_json
from kmodkit.errors import FileError, FormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kmodkit.cli.modprobe import Call
    from kmodkit.config.modprobe import ModprobeConfig, Origin
    from kmodkit.core.elf import Elf
    from kmodkit.modprobe.explain import Because, Explanation
    from kmodkit.modprobe.lookup import Modules


def run(call: Call) -> int:
    """Print what is asked for and return the exit status."""
    if "modversions" in call:
        return _symbols(call, "modversions", _needed)
    if "exports" in call:
        return _symbols(call, "symbols", _exported)
    from kmodkit.cli.modprobe import open_modules

    modules = open_modules(call)
    if "c" in call:
        return _show_config(call, modules)
    return _explain(call, modules) if "explain" in call else _blacklisted(call, modules)


# --- the configuration --------------------------------------------------------------------------------------


def _show_config(call: Call, modules: Modules) -> int:
    if "json" in call:
        print_json(_config_json(modules.config))
        return 0
    for line in modules.config.lines():
        print(line)
    print("\n# End of configuration files. Dumping indexes now:\n")
    for file in ("modules.alias.bin", "modules.symbols.bin"):
        _print_index(f"{modules.root}/{file}")
    return 0


def _print_index(path: str) -> None:
    from kmodkit.cli.common import write_bytes
    from kmodkit.core.kmodindex import IndexFile
    from kmodkit.installed import MAX_FILE
    from kmodkit.kernel.opening import read_file

    if os.path.lexists(path):
        index = IndexFile(read_file(path, max_size=MAX_FILE), source=path)
        write_bytes(b"".join(b"alias %b %b\n" % (key, value) for key, (_, value) in index.items()))


def _config_json(config: ModprobeConfig) -> dict[str, list[dict[str, object]]]:
    """Return the configuration, each entry with its file and line."""
    found: dict[str, list[dict[str, object]]] = {}
    for kind in ("blacklist", "install", "remove", "aliases", "options", "softdeps", "weakdeps"):
        found[kind] = []
        for entry in getattr(config, kind):
            values = entry._asdict()
            if kind == "softdeps":
                del values["words"]
                values.update(pre=entry.pre, post=entry.post)
            found[kind].append({**values, "origin": origin_json(entry.origin)})
    return found


def origin_json(origin: Origin | None) -> dict[str, object] | None:
    """Return how a place in a file is shown in JSON."""
    return None if origin is None else origin._asdict()


# --- symbols of a file --------------------------------------------------------------------------------------


def _symbols(call: Call, what: str, read: Callable[[Elf], Iterable[tuple[bytes, int]]]) -> int:
    """Print symbols of a module file with their checksums."""
    from kmodkit.core.elf import Elf
    from kmodkit.core.names import to_text
    from kmodkit.kernel.files import read_module_bytes

    path = call.operands[0] if call.operands else ""
    try:
        data = read_module_bytes(path)
    except FileError:
        call.log.critical(f"Module {path} not found.")
        return 1
    try:
        found = list(read(Elf.from_bytes(data)))
        reason = os.strerror(errno.ENODATA)
    except FormatError:
        found, reason = [], os.strerror(errno.ENOEXEC)
    if not found:
        call.log.critical(f"could not get {what} of {path}: {reason}")
        return 1
    if "json" in call:
        print_json([{"name": to_text(name), "crc": crc} for name, crc in found])
        return 0
    for name, crc in found:
        print(f"0x{crc:08x}\t{to_text(name)}")
    return 0


def _needed(elf: Elf) -> Iterator[tuple[bytes, int]]:
    from kmodkit.core.symbols import read_symbols

    return ((need.name, need.crc) for need in read_symbols(elf).needs if need.crc)


def _exported(elf: Elf) -> Iterator[tuple[bytes, int]]:
    from kmodkit.core.symbols import read_symbols

    return ((export.name, export.crc) for export in read_symbols(elf).exports)


# --- explanations -------------------------------------------------------------------------------------------


def _explain(call: Call, modules: Modules) -> int:
    from kmodkit.cli.insmod import parameter_string
    from kmodkit.modprobe.explain import explain, text_lines

    name, *params = call.operands
    explanation = explain(
        modules, name, params=parameter_string(params), blacklist="b" in call, ignore_command="i" in call
    )
    if "json" in call:
        print_json(_explanation_json(explanation))
    else:
        print(*text_lines(explanation), sep="\n")
    return 0 if explanation.modules else 1


def _explanation_json(explanation: Explanation) -> dict[str, object]:
    return {
        "asked": explanation.asked,
        "meaning": explanation.meaning,
        "modules": [
            {
                "name": module.name,
                "because": _because_json(module.because),
                "stopped": origin_json(module.stopped),
                "steps": [
                    {
                        **step._asdict(),
                        "because": [_because_json(reason) for reason in step.because],
                        "blacklist": origin_json(step.blacklist),
                    }
                    for step in module.steps
                ],
            }
            for module in explanation.modules
        ],
    }


def _because_json(because: Because) -> dict[str, object]:
    return {"text": because.text, "origin": origin_json(because.origin)}


def _blacklisted(call: Call, modules: Modules) -> int:
    """Print which of all the modules that names bring are blacklisted; status 1 where one is, or is not known."""
    from kmodkit.modprobe.insert import probe_list

    status = 0
    found: dict[str, Origin] = {}
    for name in call.operands:
        targets = modules.lookup(name).targets
        if not targets:
            call.log.error(f"Module {name} not found in directory {modules.root}")
            status = 1
        for target in targets:
            for one in probe_list(modules, target):
                black = modules.config.blacklisting(one.name)
                if black is not None:
                    found[one.name] = black.origin
    if "json" in call:
        print_json([{"name": name, "origin": origin_json(origin)} for name, origin in found.items()])
    else:
        for name, origin in found.items():
            print(f"{name} ({origin})")
    return 1 if found else status
