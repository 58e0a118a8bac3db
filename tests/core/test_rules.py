"""Lists of what to include and exclude, where the last match wins."""

from __future__ import annotations

import pytest

from kmodkit.core.rules import Rule, last_match, parse_rules, path_pattern
from kmodkit.errors import ArgumentError

I915 = "kernel/drivers/gpu/drm/i915/i915.ko.xz"
HDA = "kernel/sound/pci/hda/snd-hda-intel.ko"
EXTRA = "updates/dkms/i915.ko"


@pytest.mark.parametrize(
    ("rule", "path", "matches"),
    [
        ("i915", I915, True),
        ("i915", EXTRA, True),
        ("i91", I915, False),
        ("915", I915, False),
        ("i915.ko", I915, True),
        ("i915.ko.zst", I915, True),
        ("drm/i915/i915", I915, True),
        ("rm/i915/i915", I915, False),
        ("drivers/gpu/", I915, True),
        ("gpu/", I915, True),
        ("/gpu/", I915, False),
        ("/drivers/gpu/", I915, True),
        ("/kernel/drivers/gpu/", I915, True),
        ("/kernel/", EXTRA, False),
        ("/updates/*", EXTRA, True),
        ("drivers/*", I915, True),
        ("*", EXTRA, True),
        ("snd_hda_intel", HDA, True),
        ("snd-hda-*", HDA, True),
        ("snd[-_]hda*", HDA, True),
        ("re:gpu/.*915$", I915, True),
        ("re:^drivers/", I915, True),
        ("re:^kernel/", I915, True),
        ("re:\\.ko", I915, False),
        ("re:snd-hda", HDA, True),
    ],
)
def test_rule_matches_paths(rule: str, path: str, matches: bool) -> None:
    """By name, by directory, by glob from any component on, by anchored glob, by expression."""
    assert Rule(rule).matches(path) is matches
    assert Rule(f"-{rule}").matches(path) is matches
    assert Rule(f"!{rule}").includes is False


def test_last_match_decides() -> None:
    """A later rule overrides earlier ones, whichever way they say."""
    rules = parse_rules(["drivers/gpu/", "!drm/", "  # a comment", "", "i915"])
    assert last_match(rules, I915) == Rule("i915")
    assert last_match(rules, "kernel/drivers/gpu/drm/xe/xe.ko") == Rule("!drm/")
    assert last_match(rules, HDA) is None


@pytest.mark.parametrize("text", ["", "-", "!", "re:(", "-re:[", "a\0b"])
def test_rule_that_says_nothing_is_refused(text: str) -> None:
    """An empty pattern or a broken expression is named, and never matches all or nothing in silence."""
    with pytest.raises(ArgumentError):
        Rule(text)


@pytest.mark.parametrize("glob", ["-odd", "!odd", "re:odd"])
def test_a_path_is_no_rule(glob: str) -> None:
    """What would negate a rule stands for itself in a glob of paths."""
    assert path_pattern(glob).matches(f"kernel/{glob}.ko")
    assert path_pattern(glob).includes
