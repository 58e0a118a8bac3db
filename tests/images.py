"""A root file system with modules and firmware, for tests of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmodkit.testing import ModuleBuilder, write_tree

if TYPE_CHECKING:
    from pathlib import Path

RELEASE = "6.1.0-test"
MODULES = f"usr/lib/modules/{RELEASE}"
FIRMWARE = "usr/lib/firmware"
NIC = "pci:v000010ECd00008168sv0sd0bc02sc00i00"


def make_root(top: Path) -> Path:
    """Write the root: r8169 with its needs and firmware, a compressed module, a built-in that wants firmware."""
    firmware = [("firmware", "rtl_nic/a.fw"), ("firmware", "rtl_nic/gone.fw"), ("firmware", "wild/*.bin")]
    write_tree(
        top / MODULES,
        {
            "kernel/net/r8169.ko": ModuleBuilder(
                "r8169", depends=("libphy",), aliases=("pci:v000010ECd00008168*",), modinfo=firmware
            ),
            "kernel/net/libphy.ko": ModuleBuilder("libphy", compression="xz"),
            "kernel/gpu/card.ko": ModuleBuilder("card", aliases=("pci:v00001234*",)),
        },
    )
    (top / MODULES / "modules.builtin.modinfo").write_bytes(b"early.firmware=early.bin\0early.license=GPL\0")
    (top / MODULES / "modules.order").write_text("kernel/net/libphy.ko\nkernel/net/r8169.ko\nkernel/gpu/card.ko\n")
    for name, size in (("rtl_nic/real.fw", 3000), ("wild/1.bin", 10), ("wild/2.bin", 20), ("early.bin", 40)):
        path = top / FIRMWARE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * size)
    (top / FIRMWARE / "rtl_nic/a.fw").symlink_to("real.fw")
    (top / FIRMWARE / "unused.bin").write_bytes(b"unused")
    return top
