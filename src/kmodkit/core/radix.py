"""A radix tree of many alias patterns: the index that meta.pb carries.

Every node but the root stands for one token: a literal run, ``*``, ``?`` or a byte set. A pattern is the
path from the root to a node that holds values, the indices of the modules that have it. Literals share
their common beginnings, so the shape depends only on what was added, not in which order.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

from kmodkit.core.alias import STAR, ByteSet, Pattern, Token, find, join_tokens, match_at, width
from kmodkit.core.names import to_bytes, to_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

_Path: TypeAlias = "tuple[_Path, Token] | None"


# Shared by the nodes that have none: a kernel's tree has 217,000 nodes, most with one child and no value.
_NO_NODES: Final[Mapping[object, RadixNode]] = MappingProxyType({})
_NO_VALUES: Final[frozenset[int]] = frozenset()
# Trying a run costs a search; stepping costs a look at every offset of the text, of which real ones have 50.
_MOST_RUNS: Final = 24


class RadixNode:
    """One node of a `RadixTree`; read it, and change it only through the tree.

    ``token`` is what the node stands for, None at the root. ``literals`` are the children by their first byte,
    of which each is one node's; ``sets``, ``single`` and ``star`` are the other kinds of children.
    """

    __slots__ = ("indices", "literals", "sets", "single", "star", "token")

    def __init__(self, token: Token | None) -> None:
        self.token = token
        self.literals: Mapping[int, RadixNode] = _NO_NODES  # type: ignore[assignment]
        self.sets: Mapping[ByteSet, RadixNode] = _NO_NODES  # type: ignore[assignment]
        self.single: RadixNode | None = None
        self.star: RadixNode | None = None
        self.indices: AbstractSet[int] = _NO_VALUES

    @property
    def children(self) -> list[RadixNode]:
        """The children in their defined order: literals by bytes, sets by ranges, ``?``, ``*``."""
        found = [self.literals[byte] for byte in sorted(self.literals)] if self.literals else []
        if self.sets:
            found += [self.sets[members] for members in sorted(self.sets)]
        if self.single is not None:
            found.append(self.single)
        if self.star is not None:
            found.append(self.star)
        return found

    @property
    def values(self) -> tuple[int, ...]:
        """The values of the pattern that ends here, ascending."""
        return tuple(sorted(self.indices))

    def child(self, token: Token) -> RadixNode:
        """Return the child for a token that is no literal, a new one where there is none."""
        if token is STAR:
            if self.star is None:
                self.star = RadixNode(token)
            return self.star
        if isinstance(token, ByteSet):
            node = self.sets.get(token)
            if node is None:
                node = RadixNode(token)
                self.sets = {**self.sets, token: node}
            return node
        if self.single is None:
            self.single = RadixNode(token)
        return self.single

    def put_literal(self, node: RadixNode, literal: bytes) -> None:
        """Make ``node`` the child for ``literal``, in place of one with the same first byte."""
        if isinstance(self.literals, dict):
            self.literals[literal[0]] = node
        else:
            self.literals = {literal[0]: node}


class RadixTree:
    """Alias patterns to integers, as meta.pb has them; byte semantics of fnmatch(3) (see `alias`).

    Patterns and texts are taken as they are: whoever wants ``-`` and ``_`` equal normalises both.

    >>> tree = RadixTree()
    >>> tree.add("usb:v0B95p1790d*dc*", 0)
    >>> tree.add("usb:v0B95p178Ad*", 1)
    >>> tree.add("acpi*:PNP0C14:*", 2)
    >>> sorted(tree.lookup("acpi:PNP0C14:"))
    [2]
    >>> print(tree.format())
    "acpi"
      *
        ":PNP0C14:"
          * -> 2
    "usb:v0B95p17"
      "8Ad"
        * -> 1
      "90d"
        *
          "dc"
            * -> 0
    """

    def __init__(self) -> None:
        self.root = RadixNode(None)

    def add(self, pattern: str | bytes | Pattern, value: int) -> None:
        """Add ``pattern`` for ``value``; adding the same pair again changes nothing.

        Raises PatternError for a text with a NUL byte.
        """
        if not isinstance(pattern, Pattern):
            pattern = Pattern.parse(pattern)
        node = self.root
        for token in pattern.tokens:
            node = _add_literal(node, token) if isinstance(token, bytes) else node.child(token)
        if isinstance(node.indices, set):
            node.indices.add(value)
        else:
            node.indices = {value}

    def lookup(self, text: str | bytes) -> set[int]:
        """Return the values of every pattern that matches the whole of ``text``.

        The cost is at most the number of nodes times the length of ``text``, whatever the patterns.
        """
        data = to_bytes(text)
        size = len(data)
        found: set[int] = set()
        # A star reached at one offset covers every later one. Remembering the lowest offset each star was
        # reached at makes each of its (child, offset) pairs be visited once; without it k stars cost O(n^k).
        covered: dict[int, int] = {}
        stack: list[tuple[RadixNode, int]] = [(self.root, 0)]
        while stack:
            node, pos = stack.pop()
            _step(node, data, pos, stack)
            if pos == size:
                found |= node.indices
            star = node.star
            if star is not None:
                until = covered.get(id(star), size + 1)
                if pos < until:
                    covered[id(star)] = pos
                    if until > size:
                        found |= star.indices
                    _skip(star, data, pos, until, stack)
        return found

    def walk(self) -> Iterator[tuple[Pattern, tuple[int, ...]]]:
        """Yield every pattern with its values, in the tree's own order (see `RadixNode.children`)."""
        stack: list[tuple[RadixNode, _Path]] = [(self.root, None)]
        while stack:
            node, path = stack.pop()
            if node.token is not None:
                path = (path, node.token)
            if node.indices:
                yield Pattern(_tokens(path)), node.values
            stack += ((child, path) for child in reversed(node.children))

    def lines(self, label: Callable[[int], str] = str) -> Iterator[str]:
        """Yield a picture of the tree, a line a node, indented by depth; ``label`` names a value."""
        if self.root.indices:
            yield '""' + _labels(self.root, label)
        stack = [(node, 0) for node in reversed(self.root.children)]
        while stack:
            node, depth = stack.pop()
            yield "  " * depth + _picture(node.token) + _labels(node, label)
            stack += ((child, depth + 1) for child in reversed(node.children))

    def format(self, label: Callable[[int], str] = str) -> str:
        """Return the picture of `lines` as one text."""
        return "\n".join(self.lines(label))

    def __len__(self) -> int:
        """Return the number of distinct patterns."""
        return sum(1 for _ in self.walk())


def _add_literal(node: RadixNode, literal: bytes) -> RadixNode:
    """Return the node at the end of ``literal`` below ``node``, splitting what stands in the way."""
    while literal:
        child = node.literals.get(literal[0])
        if child is None:
            child = RadixNode(literal)
            node.put_literal(child, literal)
            return child
        label = _label(child)
        if not literal.startswith(label):
            shared = _shared(label, literal)
            upper = RadixNode(label[:shared])
            node.put_literal(upper, literal)
            child.token = label = label[shared:]
            upper.put_literal(child, label)
            child, label = upper, literal[:shared]
        node, literal = child, literal[len(label) :]
    return node


def _label(node: RadixNode) -> bytes:
    assert isinstance(node.token, bytes)  # noqa: S101 - the literals of a node are literal nodes
    return node.token


def _shared(one: bytes, other: bytes) -> int:
    """Return the length of the common beginning of two different texts."""
    shared = 0
    for mine, its in zip(one, other, strict=False):
        if mine != its:
            break
        shared += 1
    return shared


def _step(node: RadixNode, data: bytes, pos: int, stack: list[tuple[RadixNode, int]]) -> None:
    """Push the children of ``node``, its star aside, that match at ``pos``."""
    if pos >= len(data):
        return
    byte = data[pos]
    child = node.literals.get(byte)
    if child is not None and data.startswith(_label(child), pos):
        stack.append((child, pos + len(_label(child))))
    for members, child in node.sets.items():
        if byte in members:
            stack.append((child, pos + 1))
    if node.single is not None:
        stack.append((node.single, pos + 1))


def _skip(star: RadixNode, data: bytes, pos: int, until: int, stack: list[tuple[RadixNode, int]]) -> None:
    """Push what follows ``star`` at every offset from ``pos`` up to ``until`` where it has to be looked at.

    Runs of nodes lead from a star to the next stars and to ends of patterns. Of all places of a run before a star
    the leftmost is enough, as that star covers the rest; and a run to the end of a pattern can only match at the
    end of the text. That makes ``a*a*a*...b`` against 4 KiB of ``a`` one search a star, not 40 ms of steps.
    """
    stop = min(until, len(data))
    if stop <= pos:
        return
    runs = _runs(star, data, pos)
    if runs is None:
        for at in range(pos, stop):
            _step(star, data, at, stack)
        return
    for run, last in runs:
        size = width(run)
        if last.star is not None:
            found = find(run, data, pos)
            if 0 <= found < stop + size:
                stack.append((last, found))
        start = len(data) - size
        if last.indices and pos <= start < stop and match_at(run, data, start) >= 0:
            stack.append((last, len(data)))


def _runs(star: RadixNode, data: bytes, pos: int) -> list[tuple[tuple[Token, ...], RadixNode]] | None:
    """Return the runs below ``star`` that can match behind ``pos``, None where they are too many to try each."""
    found: list[tuple[tuple[Token, ...], RadixNode]] = []
    pending: list[tuple[tuple[Token, ...], RadixNode]] = [((), star)]
    for _ in range(_MOST_RUNS):
        if not pending:
            return found
        run, node = pending.pop()
        if run and (node.star is not None or node.indices):
            found.append((run, node))
        for child in (*node.literals.values(), *node.sets.values(), *filter(None, (node.single,))):
            token = child.token
            if token is not None and not (isinstance(token, bytes) and data.find(token, pos) < 0):
                pending.append(((*run, token), child))
    return None if pending else found


def _tokens(path: _Path) -> tuple[Token, ...]:
    tokens: list[Token] = []
    while path is not None:
        path, token = path
        tokens.append(token)
    return join_tokens(reversed(tokens))


def _picture(token: Token | None) -> str:
    if isinstance(token, bytes):
        return '"' + to_text(token).replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(Pattern((token,))) if token is not None else ""


def _labels(node: RadixNode, label: Callable[[int], str]) -> str:
    return " -> " + " ".join(label(value) for value in node.values) if node.indices else ""
