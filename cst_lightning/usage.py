"""What a command says when it was asked for something that does not exist: one line, with a suggestion."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import NoReturn

_KEY = re.compile(r'Parser key "([^"]+)":?')
_UNKNOWN = re.compile(
    r"Option '(?P<option>[^']+)' is not accepted|Group '(?P<group>[^']+)' does not accept option '(?P<member>[^']+)'"
    r"|unrecognized arguments: (?P<dashes>--?)?(?P<argument>\S+)"
)


class UsageError(ValueError):
    """A command was called in a way that it cannot follow; the message is one line for the person who typed it."""


class CommandParser(argparse.ArgumentParser):
    """A parser, and below it those of its sub-commands, that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2; the usage of some commands is six lines, which `--help` has."""
        self.exit(2, f"{self.prog}: error: {message}; {self.prog} --help explains\n")


def explain(message: str, keys: Iterable[str], classes: Sequence[type] = ()) -> str:
    """Turn a parser's report of many lines into the one line that matters.

    Args:
        message: what the parser said.
        keys: every key that the parser knows, dotted.
        classes: the classes that can be named in a configuration.

    Returns:
        Which key, what was expected, what was found; for a key or class that does not exist, the nearest one that does.
    """
    place = ".".join(_nested_keys(message))
    if match := _UNKNOWN.search(message):
        return _explain_unknown(match, place, message, keys)
    if match := re.search(r"Expected a dot import path string: (\S+)|class_path[^\n]*?: ?'?([\w.]+)'? not", message):
        names = sorted(kind.__name__ for kind in _accepted(message, classes))
        found = match[1] or match[2]
        return f"{place}: no class is called {found}{_suggest(found, names) or '; known are ' + ', '.join(names)}"
    if re.search(r"'\w+' object has no attribute 'keys'", message):
        found = re.search(r"'init_args': (.*)}$", message, re.M)
        return f"{place}.init_args: expected keys and values, found {found[1] if found else _given(message)}"
    expected = [_plain(kind) for kind in re.findall(r"Expected (.+?)(?:\. Got value.*)?$", _innermost(message), re.M)]
    found = re.search(r"(?:Given value|Got value): (.*)$", _innermost(message), re.M)
    options = " or ".join(dict.fromkeys(kind for kind in expected if kind != "None"))
    if place and options and found:
        return f"{place}: expected {options}, found {found[1]}"
    return one_line(message)


def _accepted(message: str, classes: Iterable[type]) -> list[type]:
    """Return those of the classes that can be used for the key, as far as the message names what they derive from."""
    made = [kind for kind in classes if not inspect.isabstract(kind)]
    bases = set(re.findall(r"<class '([\w.]+)'>", message.partition("Subtypes: ")[2].partition("\n")[0]))
    own = [kind for kind in made if bases & {f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__}]
    return own or made


def _nested_keys(message: str) -> list[str]:
    """Return the path of keys down to the offending one; a config file's own key says nothing to a user."""
    return [key for key in dict.fromkeys(_KEY.findall(message)) if key != "config"]


def _innermost(message: str) -> str:
    """Return what is said of the innermost key only, not of the larger values around it."""
    block = _KEY.split(message)[-1]
    end = re.search(r"(?:Given value|Got value): .*$", block, re.M)
    return block[: end.end()] if end else block


def _explain_unknown(match: re.Match[str], place: str, message: str, keys: Iterable[str]) -> str:
    if match["argument"] and not match["dashes"]:
        word = match["argument"]
        return f"expected options such as --config FILE, --data.path FILE or --data.KEY VALUE, found {word} without one"
    option = match["option"] or match["argument"] or f"{match['group']}.{match['member']}"
    option = option.split("=")[0]
    kind = re.search(r"class_path '([\w.]+)'", message)
    if option == "class_path" and kind:
        return f"{place}: expected nothing but class_path and init_args side by side, found {_given(message)}"
    candidates = parameters(kind[1]) if kind else [*keys]
    full, within = (f"{place}.{option}", f"{place}.") if place else (option, "")
    return f"unknown key {full}{_suggest(option, candidates, within)}"


def parameters(class_path: str) -> list[str]:
    """Return the names of all arguments that a class takes, those it passes on included."""
    from jsonargparse import ArgumentParser

    module, _, name = class_path.rpartition(".")
    parser = ArgumentParser()
    parser.add_class_arguments(getattr(import_module(module), name), fail_untyped=False)
    return list(parser.get_defaults().keys())


def _suggest(word: str, known: Iterable[str], within: str = "") -> str:
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {within}{near[0]}?" if near else ""


def _given(message: str) -> str:
    found = re.search(r"Given value: (.*)$", message, re.M)
    return found[1] if found else "something else"


def _plain(kind: str) -> str:
    """Write a type as in a docstring: `a <class 'int'>` is int."""
    kind = re.sub(r"^an? ", "", kind.strip())
    kind = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", kind)
    kind = re.sub(r"typing\.Literal\[(.*?)\]", lambda choices: "one of " + choices[1].replace("'", ""), kind)
    return "None" if kind == "NoneType" else kind


def one_line(message: str) -> str:
    """Return the first reason that a report lists, or else all of it, on one line.

    What a constructor raised stands below a heading that names the class.
    """
    if raised := re.search(r"Problem with given class_path '[^']+':\s*(\S.*)", message):
        return one_line(raised[1])
    reasons = re.findall(r"^\s*- (?!Expected an? <class 'NoneType'>)(.+)$", message, re.M)
    text = " ".join(reasons[0].split() if reasons else message.split())
    text = text.removeprefix('Parser key "config": ')
    missing = re.match(r"File does not exist: '(.+)'$", text)
    text = f"{missing[1]}: expected a file, found nothing" if missing else text
    return text if len(text) <= 400 else text[:397] + "..."
