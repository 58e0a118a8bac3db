"""Which modules an image is to have, and why each is in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from kmodkit.core.alias import Pattern, Wild
from kmodkit.core.catalog import Catalog, Module
from kmodkit.core.graph import load_order
from kmodkit.core.names import normalize_alias, normalize_name, to_bytes
from kmodkit.core.overlap import overlaps
from kmodkit.core.rules import Rule, last_match, path_pattern
from kmodkit.errors import DependencyError, ModuleNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from kmodkit.core.snapshot import Snapshot

Kind = Literal["all", "name", "path", "rule", "modalias", "device", "loaded", "needs", "softdep", "weakdep"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why ``module`` is in.

    ``subject`` is the module that asks for it where ``kind`` is ``needs`` (a hard dependency), ``softdep`` or
    ``weakdep``; else what was wished for: the name, glob, rule, pattern of modaliases or device path. ``via``
    is the device's modalias, or the alias of the module that was taken for the name or meets the pattern.
    """

    module: str
    kind: Kind
    subject: str = ""
    via: str = ""

    def __str__(self) -> str:
        return _TEXTS[self.kind].format(self)


_TEXTS = {
    "all": "{0.module}: every module is in",
    "name": "{0.module}: named as {0.subject}",
    "path": "{0.module}: its path matches {0.subject}",
    "rule": "{0.module}: its path matches the rule {0.subject}",
    "modalias": "{0.module}: its alias {0.via} meets {0.subject}",
    "device": "{0.module}: for the device {0.subject}, {0.via}",
    "loaded": "{0.module}: it was loaded",
    "needs": "{0.module}: {0.subject} needs it",
    "softdep": "{0.module}: a soft dependency of {0.subject}",
    "weakdep": "{0.module}: a weak dependency of {0.subject}",
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """A module that is in, and the shortest chain of reasons, from the wish to the module itself."""

    module: Module
    chain: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """What was chosen of a catalog.

    ``chosen`` is in load order; what is built in is left out. ``unmatched`` has the wishes that mean no module,
    ``excluded`` each module that was wished for and excluded, with the text of the rule, and ``broken`` each
    that was wished for and cannot be loaded, with the error.
    """

    catalog: Catalog
    chosen: tuple[Chosen, ...] = ()
    unmatched: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    broken: Mapping[str, DependencyError] = field(default_factory=dict)

    @property
    def modules(self) -> tuple[Module, ...]:
        """The modules that are in, in load order."""
        return tuple(chosen.module for chosen in self.chosen)

    def chain(self, name: str) -> tuple[Reason, ...] | None:
        """Return why the module called ``name`` is in, None where it is not."""
        wanted = normalize_name(name)
        return next((chosen.chain for chosen in self.chosen if chosen.module.name == wanted), None)

    def subset(self) -> Catalog:
        """Return the catalog of what is in, and of what is built in, in the catalog's order."""
        names = {chosen.module.name for chosen in self.chosen}
        return Catalog(tuple(module for module in self.catalog if module.builtin or module.name in names))


def select(
    catalog: Catalog,
    *,
    names: Iterable[str] = (),
    paths: Iterable[str] = (),
    modaliases: Iterable[str] = (),
    snapshot: Snapshot | None = None,
    rules: Sequence[str | Rule] = (),
    soft: bool = True,
    weak: bool = True,
) -> Selection:
    """Choose modules of ``catalog``, and all they need; without any wish, every module.

    ``names`` are names or aliases, as for modprobe. ``paths`` are globs as `kmodkit.core.rules` describes them.
    ``modaliases`` are patterns: all modules are chosen that have an alias for some modalias that matches. A
    ``snapshot`` brings the modules of its devices and those that were loaded. ``rules`` add and take away, the
    last one that matches a path deciding; where the first takes away and there is no other wish, it takes away
    from all modules.

    What rules take away still comes by its name, and where another module cannot be loaded without it; soft
    and weak dependencies (unless ``soft`` or ``weak`` is False) do not bring it back. Raises
    ModuleNotFoundError for an unknown name, UnknownDependencyError and CycleError for one that cannot be
    loaded, PatternError and ArgumentError for patterns and rules that cannot be used.
    """
    wishes = _Wishes(catalog, [rule if isinstance(rule, Rule) else Rule(rule) for rule in rules])
    wishes.names(names)
    for glob in paths:
        wishes.path(glob)
    for pattern in modaliases:
        wishes.modalias(pattern)
    if snapshot is not None:
        wishes.snapshot(snapshot)
    wishes.rules()
    chains = _closure(catalog, wishes, soft=soft, weak=weak)
    order = _order(catalog, chains, soft=soft)
    chosen = [Chosen(catalog[name], tuple(_chain(chains, name))) for name in order]
    return Selection(
        catalog,
        tuple(each for each in chosen if not each.module.builtin),
        tuple(dict.fromkeys(wishes.unmatched)),
        {name: rule for name, rule in wishes.excluded.items() if name not in chains},
        wishes.broken,
    )


class _Wishes:
    """What was asked for itself: a reason for each module, the first one found."""

    def __init__(self, catalog: Catalog, rules: Sequence[Rule]) -> None:
        self.reasons: dict[str, Reason] = {}
        self.unmatched: list[str] = []
        self.excluded: dict[str, str] = {}
        self.broken: dict[str, DependencyError] = {}
        self._catalog = catalog
        self._rules = rules
        self._asked = False
        self._verdicts: dict[str, Rule | None] = {}

    def names(self, names: Iterable[str]) -> None:
        for name in names:
            self._asked = True
            found = self._catalog.resolve(name)
            if not found:
                raise ModuleNotFoundError(name)
            for module in found:
                self._catalog.dependencies(module.name)  # raises where it cannot be loaded
                self.reasons.setdefault(module.name, Reason(module.name, "name", name))

    def path(self, glob: str) -> None:
        rule = path_pattern(glob)
        found = [module for module in self._loadable() if module.path is not None and rule.matches(module.path)]
        self._add(glob, [(Reason(module.name, "path", glob)) for module in found])

    def modalias(self, text: str) -> None:
        pattern = Pattern.parse(normalize_alias(to_bytes(text)))
        if any(isinstance(token, Wild) or not isinstance(token, bytes) for token in pattern.tokens):
            found = list(_meeting(self._loadable(), pattern))
        else:
            found = [(module, text) for module in self._catalog.lookup(text)]
        self._add(text, [Reason(module.name, "modalias", text, alias) for module, alias in found])

    def snapshot(self, snapshot: Snapshot) -> None:
        self._asked = True
        for device in snapshot.devices:
            for modalias in device.modaliases:
                for module in self._catalog.lookup(modalias):
                    self._wish(Reason(module.name, "device", device.path, modalias))
        for name in snapshot.loaded:
            if name in self._catalog:
                self._wish(Reason(normalize_name(name), "loaded"))
            else:
                self.unmatched.append(name)

    def rules(self) -> None:
        """Add what rules add; called last."""
        everything = not self._asked and (not self._rules or not self._rules[0].includes)
        met = set()
        for module in self._loadable():
            rule = self.verdict(module.name)
            met.add(rule)
            if rule is not None and rule.includes:
                self._wish(Reason(module.name, "rule", rule.text))
            elif everything:
                self._wish(Reason(module.name, "all"))
        self.unmatched += [
            rule.text
            for rule in self._rules
            if rule not in met and not any(m.path and rule.matches(m.path) for m in self._loadable())
        ]

    def verdict(self, name: str) -> Rule | None:
        """Return the rule that decides over a module, None where none does."""
        if name not in self._verdicts:
            path = self._catalog[name].path
            self._verdicts[name] = last_match(self._rules, path) if path is not None else None
        return self._verdicts[name]

    def excludes(self, name: str) -> bool:
        """Return whether a rule takes a module away, and note that it was wished for."""
        rule = self.verdict(name)
        if rule is None or rule.includes:
            return False
        self.excluded.setdefault(name, rule.text)
        return True

    def _loadable(self) -> Iterator[Module]:
        return (module for module in self._catalog if not module.builtin)

    def _add(self, wish: str, reasons: Sequence[Reason]) -> None:
        self._asked = True
        if not reasons:
            self.unmatched.append(wish)
        for reason in reasons:
            self._wish(reason)

    def _wish(self, reason: Reason) -> None:
        name = reason.module
        if name in self.reasons or name in self.broken or self.excludes(name):
            return
        try:
            self._catalog.dependencies(name)
        except DependencyError as error:
            self.broken[name] = error
        else:
            self.reasons[name] = reason


def _meeting(modules: Iterable[Module], pattern: Pattern) -> Iterator[tuple[Module, str]]:
    """Yield the modules that have an alias for some text that matches, and the first such alias."""
    head = pattern.tokens[0] if pattern.tokens and isinstance(pattern.tokens[0], bytes) else b""
    first = head[:1].decode("latin-1")
    for module in modules:
        for alias in module.aliases:
            # Most are of another bus: this spares parsing them, which is nearly all of the cost.
            if first and alias[:1] != first and alias[:1] not in "*?[\\-_":
                continue
            if overlaps(pattern, Pattern.parse(alias).normalized()):
                yield module, alias
                break


def _closure(catalog: Catalog, wishes: _Wishes, *, soft: bool, weak: bool) -> dict[str, Reason]:
    """Return a reason for each module that comes, breadth first, so that every chain is a shortest one."""
    reasons = dict(wishes.reasons)
    pending = list(reasons)
    for name in pending:
        for reason in _edges(catalog, name, soft=soft, weak=weak):
            if reason.module in reasons or (reason.kind != "needs" and wishes.excludes(reason.module)):
                continue
            reasons[reason.module] = reason
            pending.append(reason.module)
    return reasons


def _edges(catalog: Catalog, name: str, *, soft: bool, weak: bool) -> Iterator[Reason]:
    for need in catalog.needs(name):
        yield Reason(need, "needs", name)
    if soft:
        for target in (*catalog.soft_targets(name).pre, *catalog.soft_targets(name).post):
            yield Reason(target, "softdep", name)
    if weak:
        for target in catalog.weak_targets(name):
            yield Reason(target, "weakdep", name)


def _order(catalog: Catalog, chosen: Mapping[str, Reason], *, soft: bool) -> list[str]:
    def present(names: Iterable[str]) -> list[str]:
        return [name for name in names if name in chosen]

    return load_order(
        list(chosen),
        catalog.needs,
        lambda name: present(catalog.soft_targets(name).pre) if soft else (),
        lambda name: present(catalog.soft_targets(name).post) if soft else (),
    )


def _chain(reasons: Mapping[str, Reason], name: str) -> Iterator[Reason]:
    steps = [reasons[name]]
    while steps[-1].kind in ("needs", "softdep", "weakdep"):
        steps.append(reasons[steps[-1].subject])
    return reversed(steps)
