"""Plans: what loading or unloading would do, as values to print, compare and then execute."""

from __future__ import annotations

from kmodkit.core.graph import hard_order, load_order
from kmodkit.core.names import normalize_name
from kmodkit.errors import ModuleInUseError, ModuleNotLoadedError, UnloadError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from dataclasses import dataclass
    from typing import Literal

    from kmodkit.core.catalog import Catalog
    from kmodkit.core.procmodules import LoadedModule
else:
    from kmodkit.core.values import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One module to load or unload.

    ``needs`` are steps of the same plan that must succeed first, ``follows`` others that must have ended first.
    ``required`` is False where only a soft dependency asks for the module: its failure is no failure of the plan.
    """

    action: Literal["load", "unload"]
    name: str
    path: str | None = None
    params: str = ""
    needs: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    required: bool = True

    def __str__(self) -> str:
        if self.action == "unload":
            return f"unload {self.name}"
        return f"load {self.name} {self.path}" + (f" {self.params}" if self.params else "")


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in an order in which they may be done one by one; empty where nothing is to be done."""

    steps: tuple[Step, ...] = ()

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __str__(self) -> str:
        return "\n".join(map(str, self.steps))


def plan_load(
    catalog: Catalog, names: Iterable[str], loaded: Collection[str], params: Mapping[str, str] | None = None
) -> Plan:
    """Return what has to be loaded so that the modules called ``names`` are.

    ``loaded`` are the names of those that are already; what is loaded or built in brings nothing with it.
    ``params`` gives parameters by module name. Raises ModuleNotFoundError, UnknownDependencyError and CycleError.
    """

    def missing(found: Iterable[str]) -> list[str]:
        return [name for name in found if name not in loaded and not catalog[name].builtin]

    def needs(name: str) -> list[str]:
        return missing(catalog.needs(name))

    def before(name: str) -> list[str]:
        return missing(catalog.soft_targets(name).pre)

    def after(name: str) -> list[str]:
        return missing(catalog.soft_targets(name).post)

    wanted = missing(catalog[name].name for name in names)
    order = load_order(wanted, needs, before, after)
    place = {name: position for position, name in enumerate(order)}
    follows: dict[str, list[str]] = {name: [] for name in order}
    for name in order:
        # Soft dependencies that run in circles are kept only as far as the order has them.
        follows[name] += [other for other in before(name) if place.get(other, len(order)) < place[name]]
        for other in after(name):
            if place.get(other, -1) > place[name]:
                follows[other].append(name)
    required = set(hard_order(wanted, needs))
    return Plan(
        tuple(
            Step(
                "load",
                name,
                catalog[name].path,
                (params or {}).get(name, ""),
                tuple(needs(name)),
                tuple(dict.fromkeys(follows[name])),
                name in required,
            )
            for name in order
        )
    )


def plan_unload(
    catalog: Catalog, name: str, loaded: Iterable[LoadedModule], *, remove_holders: bool, unused: bool
) -> Plan:
    """Return what has to be unloaded so that the module called ``name`` is gone.

    With ``remove_holders`` the modules that use it go first. With ``unused``, dependencies that nothing uses
    afterwards go too. Raises UnloadError for one that is built in or permanent, ModuleNotLoadedError, and
    ModuleInUseError where modules use it that are to stay.
    """
    state = {module.name: module for module in loaded}
    known = catalog.get(name)
    name = known.name if known else normalize_name(name)
    if name not in state:
        if known and known.builtin:
            raise UnloadError(name, None, "it is built into the kernel")
        raise ModuleNotLoadedError(name, None, "it is not loaded")
    holders = state[name].holders
    if holders and not remove_holders:
        raise ModuleInUseError(name, None, f"it is in use by {', '.join(holders)}")
    order = hard_order([name], lambda one: [holder for holder in state[one].holders if holder in state])
    for one in order:
        if state[one].permanent:
            raise UnloadError(one, None, "it has no exit function, so it stays until the next boot")
    if unused:
        order += _unused(order, state)
    return Plan(
        tuple(
            Step("unload", one, needs=tuple(holder for holder in state[one].holders if holder in order))
            for one in order
        )
    )


def _unused(going: list[str], state: Mapping[str, LoadedModule]) -> list[str]:
    """Return the dependencies of what goes that nothing will use, each behind those that use it."""
    # The kernel's word counts, not the catalog's: that may be of other files, or lack what is loaded.
    needs: dict[str, list[str]] = {}
    for module in state.values():
        for holder in module.holders:
            needs.setdefault(holder, []).append(module.name)
    gone = dict.fromkeys(going)
    for name in reversed(hard_order(going, lambda one: needs.get(one, ()))):
        module = state[name]
        if module.permanent or name in gone:
            continue
        # Each module that uses it counts once; a count beyond them is a user that is no module.
        if gone.keys() >= set(module.holders) and (module.refcnt or 0) <= len(module.holders):
            gone[name] = None
    return list(gone)[len(going) :]
