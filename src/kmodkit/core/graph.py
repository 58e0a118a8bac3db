"""Orders and cycles of dependencies between named modules.

Hard dependencies bind: what is needed comes first, and a cycle is an error. Soft ones are wishes: they put
a module before or after another where no hard dependency says otherwise, and may run in circles.
"""

from __future__ import annotations

from kmodkit.errors import CycleError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from typing import TypeAlias

Edges: TypeAlias = "Callable[[str], Iterable[str]]"


def hard_order(wanted: Iterable[str], needs: Edges, done: Collection[str] = ()) -> list[str]:
    """Return ``wanted`` and all they need, each once, each behind what it needs itself.

    ``done`` is left out, with what only it leads to. Raises CycleError, and whatever ``needs`` raises.

    >>> hard_order(["r8169"], {"r8169": ["mdio_devres", "libphy"], "mdio_devres": ["libphy"], "libphy": []}.get)
    ['libphy', 'mdio_devres', 'r8169']
    """
    order: dict[str, None] = {}
    # An explicit stack: a chain as long as a hostile file likes must not end in RecursionError.
    for root in wanted:
        if root in order or root in done:
            continue
        path = {root: iter(needs(root))}
        while path:
            name = next(reversed(path))
            for need in path[name]:
                if need in path:
                    names = list(path)
                    raise CycleError([*names[names.index(need) :], need])
                if need not in order and need not in done:
                    path[need] = iter(needs(need))
                    break
            else:
                path.popitem()  # not del, behind which reversed() would go over all that was deleted before
                order[name] = None
    return list(order)


def load_order(wanted: Iterable[str], needs: Edges, before: Edges, after: Edges) -> list[str]:
    """Return ``wanted``, all they need and all they wish for, in an order to load them in.

    ``needs`` gives hard dependencies, ``before`` and ``after`` the soft ones. A soft dependency that itself
    needs a module which waits for it comes behind that module instead. Raises CycleError for hard cycles.
    """
    order: dict[str, None] = {}
    waiting: set[str] = set()
    later: list[str] = []
    stack: list[tuple[str, str]] = [("want", name) for name in reversed(list(wanted))]
    while stack or later:
        if not stack:
            stack = [("want", name) for name in reversed(later)]
            later = []
        step, name = stack.pop()
        if step == "place":
            waiting.discard(name)
            order[name] = None
        elif step == "before":
            stack += [("want", other) for other in reversed(list(before(name)))]
        elif step == "after":
            stack += [("want", other) for other in reversed(list(after(name)))]
        elif name in order or name in waiting:
            continue
        elif step == "want" and not waiting.isdisjoint(hard_order([name], needs, done=order)):
            later.append(name)
        else:
            # Only what is on the way to here waits: a need that comes later may still be wished for before this.
            waiting.add(name)
            stack += [("after", name), ("place", name), ("before", name)]
            stack += [("need", other) for other in reversed(list(needs(name)))]
    return list(order)


def find_cycles(needs: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """Yield cycles among ``needs``: with the last step of each taken away, none is left.

    Each names its members in order, the first one again at the end. Names that are no key count as without
    dependencies.
    """
    done: set[str] = set()
    for root in needs:
        path: dict[str, int] = {}
        trail = [(root, 0)] if root not in done else []
        while trail:
            name, index = trail.pop()
            path.setdefault(name, len(path))
            following = needs.get(name, ())
            if index == len(following):
                done.add(name)
                del path[name]
                continue
            trail.append((name, index + 1))
            need = following[index]
            if need in path:
                names = list(path)
                yield (*names[path[need] :], need)
            elif need not in done:
                trail.append((need, 0))
