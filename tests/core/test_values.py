"""Light frozen values behave as the standard library's dataclasses and named tuples do."""

# mypy: disable-error-code="arg-type, call-arg, misc, no-untyped-call, attr-defined, unused-ignore"
# mypy knows these classes by the standard library's names only, and here both are used side by side.

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import typing
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from kmodkit.core import values

if TYPE_CHECKING:
    from collections.abc import Callable

light: Any = values


@light.dataclass(frozen=True, slots=True)
class Light:
    """A value."""

    name: str
    size: int = 0
    hidden: str = light.field(default="h", repr=False, compare=False)
    made: tuple[str, ...] = light.field(init=False)
    kind: ClassVar[str] = "any"

    def __post_init__(self) -> None:
        object.__setattr__(self, "made", (self.name,))

    @property
    def long(self) -> bool:
        """Whether it is."""
        return self.size > 9


@dataclasses.dataclass(frozen=True, slots=True)
class Heavy:
    """The same."""

    name: str
    size: int = 0
    hidden: str = dataclasses.field(default="h", repr=False, compare=False)
    made: tuple[str, ...] = dataclasses.field(init=False)
    kind: ClassVar[str] = "any"

    def __post_init__(self) -> None:
        object.__setattr__(self, "made", (self.name,))


@light.dataclass(frozen=True, slots=True, kw_only=True)
class Worded:
    """A value whose fields are named."""

    a: int
    b: int = 2


@light.dataclass(frozen=True, slots=True)
class Longer(Light):
    """One with a field more."""

    more: int = 1


class LightPair(light.NamedTuple):
    """A tuple with names."""

    one: int
    other: str = "x"


class HeavyPair(typing.NamedTuple):
    """The same."""

    one: int
    other: str = "x"


BOTH = pytest.mark.parametrize("kind", [Light, Heavy])


@BOTH
def test_values_compare_and_hash_by_their_fields(kind: Callable[..., Any]) -> None:
    """But for those that say otherwise."""
    assert kind("a", 1) == kind("a", size=1, hidden="other") != kind("b", 1)
    assert hash(kind("a")) == hash(kind(name="a")) == hash(kind("a", hidden="x"))
    assert len({kind("a"), kind("a"), kind("b")}) == 2
    assert kind("a") != ("a", 0)
    assert (kind("a"), kind.kind) == (kind("a"), "any")


def test_a_value_of_another_class_is_another_one() -> None:
    """As for dataclasses."""
    assert Light("a") != Longer("a")
    assert Longer("a", more=2) != Longer("a", more=3)


@BOTH
def test_they_are_shown_alike(kind: type) -> None:
    """With the name of the class and of each field."""
    assert repr(kind("a", 1)) == f"{kind.__name__}(name='a', size=1, made=('a',))"


@BOTH
@pytest.mark.parametrize("name", ["name", "size", "made", "nothing"])
def test_they_are_frozen(kind: Callable[..., Any], name: str) -> None:
    """Nothing can be set or taken away."""
    value = kind("a")
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
        setattr(value, name, 1)
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
        delattr(value, name)
    assert not hasattr(value, "__dict__")


@BOTH
def test_wrong_words_are_refused(kind: Callable[..., Any]) -> None:
    """Too few, too many, unknown ones and those that are made."""
    for call in (lambda: kind(), lambda: kind("a", 1, "h", 4), lambda: kind("a", x=1), lambda: kind("a", made=())):
        with pytest.raises(TypeError):
            call()


@BOTH
def test_they_are_copied_and_pickled(kind: Callable[..., Any]) -> None:
    """All fields come along."""
    value = kind("a", 3, hidden="z")
    for twin in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):  # noqa: S301 - our own
        assert twin == value
        assert (twin.hidden, twin.made) == ("z", ("a",))


@BOTH
def test_the_standard_library_knows_them(kind: Any) -> None:
    """Fields, replace, asdict, is_dataclass, match and signatures."""
    value: Any = kind("a", 1)
    assert all(map(dataclasses.is_dataclass, (kind, value)))
    assert [field.name for field in dataclasses.fields(value)] == ["name", "size", "hidden", "made"]
    assert dataclasses.replace(value, size=7) == kind("a", 7)
    assert dataclasses.asdict(value) == {"name": "a", "size": 1, "hidden": "h", "made": ("a",)}
    assert kind.__match_args__ == ("name", "size", "hidden")
    assert list(inspect.signature(kind).parameters) == ["name", "size", "hidden"]
    match value:
        case Light(name, size) | Heavy(name, size):
            assert (name, size) == ("a", 1)
        case _:
            pytest.fail("it matches its own class")


def test_a_dataclass_may_build_on_one() -> None:
    """Ours or the standard library's, with all fields in order."""

    @dataclasses.dataclass(frozen=True)
    class Mine(Light):
        own: int = 5

    assert [field.name for field in dataclasses.fields(Mine)] == ["name", "size", "hidden", "made", "own"]
    assert [field.name for field in dataclasses.fields(Longer)] == ["name", "size", "hidden", "made", "more"]
    assert repr(Longer("a")) == "Longer(name='a', size=0, made=('a',), more=1)"
    assert Longer("a", 10).long


def test_words_can_be_asked_for_by_name_only() -> None:
    """As with kw_only."""
    assert Worded(a=1) == Worded(b=2, a=1)
    with pytest.raises(TypeError):
        Worded(1)
    assert dataclasses.fields(Worded)[0].kw_only


@pytest.mark.parametrize("kind", [LightPair, HeavyPair])
def test_named_tuples_are_tuples(kind: Any) -> None:
    """With all that is used of them here."""
    pair = kind(1)
    assert pair == (1, "x") == kind(other="x", one=1) == kind._make([1, "x"])
    assert (pair.one, pair.other, *pair) == (1, "x", 1, "x")
    assert pair._replace(one=2) == (2, "x") and type(pair._replace(one=2)) is kind
    assert pair._asdict() == {"one": 1, "other": "x"}
    assert repr(pair) == f"{kind.__name__}(one=1, other='x')"
    assert kind._fields == kind.__match_args__ == ("one", "other") and kind._field_defaults == {"other": "x"}
    assert type(pickle.loads(pickle.dumps(pair))) is type(copy.copy(pair)) is kind  # noqa: S301 - our own
    assert not hasattr(pair, "__dict__")
    for wrong in (lambda: kind(), lambda: kind(1, 2, 3), lambda: kind._make([1])):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises((ValueError, TypeError)):
        pair._replace(nothing=1)
    with pytest.raises(AttributeError):
        pair.one = 2
