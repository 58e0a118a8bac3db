"""What the tests of the commands share: running one, and a small module tree."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from kmodkit.cli import main
from kmodkit.testing import ModuleBuilder, write_tree

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

NETWORK_CARD = "pci:v000010ECd00008168sv00001043sd000085AAbc02sc00i00"


class Ran(NamedTuple):
    """What became of a command."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines of standard output."""
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


def run(capsys: pytest.CaptureFixture[str], *words: object) -> Ran:
    """Run a command in this process."""
    capsys.readouterr()
    try:
        status = main([str(word) for word in words])
    except SystemExit as end:
        assert isinstance(end.code, int)
        status = end.code
    return Ran(status, *capsys.readouterr())


def network_tree(root: Path) -> Path:
    """Write a tree of network drivers and return it."""
    return write_tree(
        root / "6.1.0",
        {
            "kernel/net/r8169.ko": ModuleBuilder(
                "r8169",
                modinfo=[
                    ("description", "RealTek Gigabit"),
                    ("parm", "debug:Verbosity"),
                    ("parmtype", "debug:int"),
                ],
                license="GPL",
                depends=["mdio-devres", "libphy"],
                softdeps=["pre: realtek"],
                weakdeps=["firmware-helper"],
                aliases=["pci:v000010ECd00008168sv*sd*bc*sc*i*", "pci:v000010ECd00008125sv*sd*bc*sc*i*"],
                firmware=["rtl_nic/rtl8168.fw"],
                vermagic="6.1.0 SMP",
            ),
            "kernel/net/mdio_devres.ko": ModuleBuilder("mdio_devres", depends=["libphy"], compression="xz"),
            "kernel/net/libphy.ko": ModuleBuilder("libphy", license="GPL", depends=["ptp-core"]),
            "kernel/net/realtek.ko": ModuleBuilder("realtek", depends=["libphy"], aliases=["mdio:*", "fs-xfs"]),
            "kernel/net/firmware-helper.ko": ModuleBuilder("firmware-helper"),
        },
        builtin={
            "kernel/net/ptp-core.ko": [("license", "GPL"), ("alias", "cpu:type:x86*"), ("author", "Somebody")]
        },
    )
