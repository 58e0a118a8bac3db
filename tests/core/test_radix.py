"""The radix tree of patterns: answers, shape, printing, and bounded cost."""

from collections.abc import Iterator
from itertools import permutations

import pytest

from kmodkit.core import radix
from kmodkit.core.alias import ByteSet, Pattern
from kmodkit.core.radix import RadixNode, RadixTree
from kmodkit.errors import PatternError


def tree_of(*patterns: str | bytes) -> RadixTree:
    """Return a tree with each pattern's position as its value."""
    tree = RadixTree()
    for value, pattern in enumerate(patterns):
        tree.add(pattern, value)
    return tree


@pytest.mark.parametrize(
    ("patterns", "text", "values"),
    [
        (["usb:v0B95p1790d*dc*", "usb:v0B95p178Ad*dc*"], "usb:v0B95p178Ad0dc1", {1}),
        (["acpi*:PNP0C14:*"], "acpi:PNP0C14:asdf", {0}),
        (["a*", "ab*", "*b", "a?", "[a-b]b", "ab", "*"], "ab", {0, 1, 2, 3, 4, 5, 6}),
        (["a*", "ab*", "*b"], "", set()),
        (["", "*", "?"], "", {0, 1}),
        (["a", "ab", "abc"], "ab", {1}),
        (["abc", "ab", "a"], "ab", {1}),
        (["a*b*c"], "abbc", {0}),
        (["a*bb*c"], "abc", set()),
        (["*a", "*ba", "*cba", "*dcba"], "xcba", {0, 1, 2}),
        (["*aa"], "aaa", {0}),
        (["*[ab]", "*[b-c]", "*?"], "xb", {0, 1, 2}),
        (["*a*", "*b*", "*c*", "*d*"], "xbdx", {1, 3}),
        (["[!a]", "[^b]"], "a", {1}),
        (["\\*", "*"], "x", {1}),
        ([b"\xff*"], b"\xff\xfe", {0}),
        (["*", "*a*"], "ba", {0, 1}),
        (["a*/b"], "a/x/b", {0}),
    ],
)
def test_every_matching_pattern_answers(patterns: list[str | bytes], text: str, values: set[int]) -> None:
    """A lookup gives the values of all patterns that match the whole text, and of no other."""
    assert tree_of(*patterns).lookup(text) == values


def test_one_pattern_may_stand_for_many_values() -> None:
    """Modules that share an alias all answer, and adding a pair again changes nothing."""
    tree = RadixTree()
    for value in (7, 3, 7, 3):
        tree.add("a*", value)
    assert tree.lookup("ab") == {3, 7}
    assert list(tree.walk()) == [(Pattern.parse("a*"), (3, 7))]
    assert len(tree) == 1


def test_equal_patterns_written_differently_are_one() -> None:
    """[ab] and [a-b], ** and * end at the same node."""
    tree = tree_of("x[ab]**", "x[a-b]*")
    assert len(tree) == 1
    assert tree.lookup("xa") == {0, 1}


def test_the_tree_does_not_depend_on_the_order_of_adding() -> None:
    """Whatever order patterns come in, the picture and the walk are the same."""
    patterns = ["abc", "ab", "abd*", "a[0-9]", "a?", "*"]
    trees = []
    for order in permutations(range(len(patterns)), len(patterns)):
        tree = RadixTree()
        for value in order:
            tree.add(patterns[value], value)
        trees.append((tree.format(), tuple(tree.walk())))
    assert len(set(trees)) == 1


def test_a_literal_is_split_where_patterns_part() -> None:
    """Patterns share the nodes of their common beginning and keep their values at its end."""
    assert tree_of("abcd", "abxy", "ab", "abcd*").format().split("\n") == [
        '"ab" -> 2',
        '  "cd" -> 0',
        "    * -> 3",
        '  "xy" -> 1',
    ]


def test_the_picture_has_a_defined_order_and_labels() -> None:
    """Literals come by bytes, then sets, ? and *; labels name the values."""
    tree = tree_of("*", "?", "[b-c]", "[a-z]", "z", "a", "")
    names = ["star", "any", "bc", "az", "zed", "aye", "nothing"]
    assert tree.format(lambda value: names[value]).split("\n") == [
        '"" -> nothing',
        '"a" -> aye',
        '"z" -> zed',
        "[a-z] -> az",
        "[bc] -> bc",
        "? -> any",
        "* -> star",
    ]


def test_the_picture_quotes_what_would_confuse() -> None:
    """Quotes and backslashes in literals are escaped; wildcard characters in them stay within the quotes."""
    assert tree_of('a"b\\\\c\\*').format() == '"a\\"b\\\\c*" -> 0'


def test_the_walk_gives_back_what_was_added() -> None:
    """Nothing is lost or joined on the way: every pattern comes back with its value."""
    texts: list[str | bytes] = ["", "abc", "ab", "a*c", "a*d", "a?", "[!x]y", "\\*", b"\xff\xfe", "*"]
    tree = tree_of(*texts)
    assert dict(tree.walk()) == {Pattern.parse(text): (value,) for value, text in enumerate(texts)}


def test_nodes_tell_their_token_children_and_values() -> None:
    """The tree can be walked by hand, from a root that stands for nothing."""
    tree = tree_of("a*", "a[bc]")
    assert tree.root.token is None
    (literal,) = tree.root.children
    assert literal.token == b"a"
    assert [child.token for child in literal.children] == [
        ByteSet(((0x62, 0x63),)),
        Pattern.parse("*").tokens[0],
    ]
    assert [child.values for child in literal.children] == [(1,), (0,)]


def test_a_nul_byte_is_refused_and_changes_nothing() -> None:
    """A text that is no pattern leaves the tree as it was."""
    tree = tree_of("a")
    with pytest.raises(PatternError):
        tree.add("b\0", 1)
    assert tree.format() == '"a" -> 0'


CATASTROPHES = [
    "a*a*a*a*a*a*a*b",
    "*a*a*a*a*a*a*a*b",
    "a*" * 30 + "b",
    "*?" * 30 + "b",
    "*[a-b]" * 30 + "c",
    "*aa*aaa*a?a*" * 5 + "b",
    "?*" * 30 + "b",
]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Count what a lookup does: one for each node it looks at, at one offset."""
    counted = [0]
    step = radix._step

    def counting(node: RadixNode, data: bytes, pos: int, stack: list[tuple[RadixNode, int]]) -> None:
        counted[0] += 1
        step(node, data, pos, stack)

    monkeypatch.setattr(radix, "_step", counting)
    yield counted


def nodes(tree: RadixTree) -> int:
    """Return how many nodes a tree has."""
    return 1 + tree.format().count("\n") + 1


@pytest.mark.parametrize("pattern", CATASTROPHES)
def test_stars_cost_no_more_than_nodes_times_length(pattern: str, steps: list[int]) -> None:
    """Patterns that are exponential to a naive matcher take at most one step a node and offset."""
    tree = tree_of(pattern)
    text = b"a" * 4096
    assert tree.lookup(text) == set()
    assert steps[0] <= nodes(tree) * (len(text) + 1)
    assert not Pattern.parse(pattern).matches(text)


def test_many_catastrophes_in_one_tree_stay_within_the_same_bound(steps: list[int]) -> None:
    """The bound holds for all patterns together, however they share their nodes."""
    tree = tree_of(*CATASTROPHES)
    text = b"a" * 256
    assert tree.lookup(text + b"b") == set(range(len(CATASTROPHES))) - {4}
    assert steps[0] <= nodes(tree) * (len(text) + 2)


def test_twice_the_text_takes_at_most_twice_the_steps(steps: list[int]) -> None:
    """Growth is linear in the text, as a count of steps and not a time shows."""
    tree = tree_of(*CATASTROPHES)
    counts = []
    for size in (256, 512, 1024):
        steps[0] = 0
        tree.lookup(b"a" * size)
        counts.append(steps[0])
    assert counts[1] <= 2.1 * counts[0]
    assert counts[2] <= 2.1 * counts[1]


def test_many_patterns_are_walked_without_recursion() -> None:
    """A pattern of two thousand tokens, as a hostile module may hold, is added, found and printed."""
    text = "?a" * 1000
    tree = tree_of(text)
    assert tree.lookup(text) == {0}
    assert [str(pattern) for pattern, _ in tree.walk()] == [text]
    assert tree.format().count("\n") == 1999
