"""What modprobe would do for a name, and which line of which file says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kmodkit.errors import KmodError
from kmodkit.kernel.files import read_module
from kmodkit.modprobe.insert import parameters, probe_list
from kmodkit.modprobe.lint import unknown_parameters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kmodkit.config.modprobe import Origin
    from kmodkit.modprobe.insert import Action
    from kmodkit.modprobe.lookup import Meaning, Modules, Target


class Because(NamedTuple):
    """A reason: a sentence, and where it is written, None where it is the tree's own index that says so."""

    text: str
    origin: Origin | None = None


class ExplainedStep(NamedTuple):
    """One thing that would be done.

    ``action`` is None where nothing is left to do: the module is built in or does not exist. ``blacklist`` is the
    line that blacklists the module, which is heeded only for aliases; ``unknown`` are parameters it does not list.
    """

    action: Action | None
    name: str
    path: str | None
    params: str
    command: str
    because: tuple[Because, ...]
    blacklist: Origin | None
    unknown: tuple[str, ...]


class Explained(NamedTuple):
    """What one module brings that the name means; ``stopped`` is the blacklist line that keeps it all away."""

    name: str
    because: Because
    stopped: Origin | None
    steps: tuple[ExplainedStep, ...]


class Explanation(NamedTuple):
    """What a name means: ``meaning`` is which kind of name it is, None for none."""

    asked: str
    meaning: Meaning | None
    modules: tuple[Explained, ...]


def explain(
    modules: Modules, name: str, *, params: str = "", blacklist: bool = False, ignore_command: bool = False
) -> Explanation:
    """Return what loading ``name`` would do where nothing is loaded; opens the modules that get parameters."""
    found = modules.lookup(name)
    lines: tuple[Origin | None, ...] = tuple(line.origin for line in found.lines) or (None,) * len(found.targets)
    explained = []
    for target, line in zip(found.targets, lines, strict=True):
        because = Because(f"{name!r} is a name of kind: {found.meaning}", line)
        black = modules.config.blacklisting(target.name)
        heeded = black is not None and (target.alias is not None or blacklist)
        steps: list[ExplainedStep] = []
        if not heeded:
            planned = probe_list(modules, target, ignore_command=ignore_command)
            steps = [_step(modules, one, target, planned, params if one is target else "") for one in planned]
        explained.append(Explained(target.name, because, black.origin if black and heeded else None, tuple(steps)))
    return Explanation(name, found.meaning, tuple(explained))


def _step(modules: Modules, one: Target, target: Target, planned: list[Target], extra: str) -> ExplainedStep:
    config = modules.config
    params = parameters(modules, one, extra)
    reasons = [_reason(modules, one, target, planned)]
    reasons += (
        Because(f"parameters {options.text.strip()!r}", options.origin)
        for options in config.options_of(one.name, one.alias)
    )
    action: Action | None = None if one.path is None else "insmod"
    command = config.command("install", one.name)
    text = ""
    if command is not None and one.ignore_command:
        reasons.append(Because("its install line is passed over, for it has soft dependencies", command.origin))
    elif command is not None:
        action, text = "install", command.command
        reasons.append(Because("an install line replaces loading it", command.origin))
    black = config.blacklisting(one.name)
    unknown = unknown_to(one, params) if action == "insmod" else ()
    return ExplainedStep(
        action, one.name, one.path, params, text, tuple(reasons), black.origin if black else None, unknown
    )


def _reason(modules: Modules, one: Target, target: Target, planned: list[Target]) -> Because:
    if one is target:
        return Because("it is what the name means")
    for other in planned:
        if one in modules.dependencies(other):
            return Because(f"{other.name} needs it")
        before, after = modules.softdeps(other)
        soft = modules.config.softdep(other.name)
        if soft is not None and one in before:
            return Because(f"it is to come before {other.name}", soft.origin)
        if soft is not None and one in after:
            return Because(f"it is to come after {other.name}", soft.origin)
    return Because(f"{target.name} brings it")


def unknown_to(target: Target, params: str) -> tuple[str, ...]:
    """Return the parameters that a module does not list; none where its file cannot be read."""
    if target.path is None or not params:
        return ()
    try:
        return unknown_parameters(read_module(target.path), params)
    except KmodError:  # the load itself will say so
        return ()


def text_lines(explanation: Explanation) -> Iterator[str]:
    """Yield the explanation as text, for people."""
    if not explanation.modules:
        yield f"{explanation.asked}: no module, alias, symbol or command has this name"
    for module in explanation.modules:
        yield f"{explanation.asked}: {explanation.meaning}, means {module.name}{_at(module.because.origin)}"
        if module.stopped is not None:
            yield f"  nothing is done: {module.name} is blacklisted{_at(module.stopped)}"
        for step in module.steps:
            yield f"  {_what(step)}"
            for reason in step.because:
                yield f"    because {reason.text}{_at(reason.origin)}"
            if step.blacklist is not None:
                yield f"    although it is blacklisted{_at(step.blacklist)}: that is for aliases only"
            for name in step.unknown:
                yield f"    warning: the module lists no parameter {name!r}"


def _what(step: ExplainedStep) -> str:
    if step.action == "install":
        return f"run {step.command}"
    if step.action == "insmod":
        return f"load {step.path} {step.params}".rstrip()
    return f"nothing to load for {step.name}: it has no file"


def _at(origin: Origin | None) -> str:
    return f" ({origin})" if origin is not None else ""
