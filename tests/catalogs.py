"""Small catalogs for tests, written as words."""

from __future__ import annotations

from kmodkit.core.catalog import Catalog, Module
from kmodkit.core.modinfo import SoftDeps


def module(
    name: str,
    needs: str = "",
    *,
    pre: str = "",
    post: str = "",
    weak: str = "",
    aliases: str = "",
    builtin: bool = False,
) -> Module:
    """Return a module; what it names is given as words with blanks between them."""
    return Module(
        name,
        None if builtin else f"kernel/{name}.ko",
        tuple(needs.split()),
        SoftDeps(tuple(pre.split()), tuple(post.split())),
        tuple(weak.split()),
        tuple(aliases.split()),
    )


def catalog(*modules: Module) -> Catalog:
    """Return a catalog of modules in their order."""
    return Catalog(modules)


def network() -> Catalog:
    """Return drivers as a real kernel has them: r8169 needs mdio_devres and libphy, e1000e needs ptp."""
    return catalog(
        module("r8169", "mdio_devres libphy", pre="realtek", aliases="pci:v000010ECd00008168*"),
        module("mdio_devres", "libphy"),
        module("libphy"),
        module("realtek", "libphy"),
        module("e1000e", "ptp", aliases="pci:v00008086d0000105E*"),
        module("ptp", "pps_core"),
        module("pps_core", builtin=True),
    )
