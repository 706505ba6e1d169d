"""YAML as people mean it: numbers and words of version 1.2, no key twice, and the line of every key.

PyYAML reads version 1.1, in which ``010`` is 8, ``1:30`` is 90, ``yes`` is true and ``1e-3`` is text.
"""

import re
from collections.abc import Callable
from typing import Any

import yaml

LONGEST = 200  # characters of what a parser says
_MERGE = "tag:yaml.org,2002:merge"
# Tag, form, and the characters that a value of this form begins with.
_FORMS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
)


class YamlFault(ValueError):  # noqa: N818 - carries a sentence's end, and is never shown by itself
    """What is wrong in a text of YAML, and where."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own way


class _Dumper(yaml.SafeDumper):
    """Quotes what either version would read as something else than text."""


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 0) if re.fullmatch(r"[-+]?0[ox].*", text) else int(text)


for _name, _form, _first in _FORMS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_form})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def load(text: str) -> Any:
    """Return what a text of YAML holds; nothing in it is executed.

    Raises:
        YamlFault: It is not YAML, or a key is there twice.
    """
    try:
        return _loaded(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        place = f" at line {where.line + 1}, column {where.column + 1}" if where else ""
        reason = str(getattr(error, "problem", None) or error)
        raise YamlFault(f"is not YAML{place}: {reason[:LONGEST]}") from None
    except RecursionError:
        raise YamlFault("is nested too deeply to be a configuration") from None
    except ValueError as error:  # a number of thousands of digits
        if isinstance(error, YamlFault):
            raise
        raise YamlFault(f"is not YAML: {str(error)[:LONGEST]}") from None


def _loaded(text: str) -> Any:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _refuse_repeats(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def dump(tree: Any) -> str:
    """Return YAML that :func:`load`, and a reader of version 1.1, read back to the same."""
    return str(yaml.dump(tree, Dumper=_Dumper, sort_keys=False))


def lines_of(text: str) -> Callable[[str], int | None]:
    """Return a function from a dotted key of a text to its line, or to that of the section where it would be.

    Args:
        text: YAML that was loaded before; its keys may be dotted too.
    """
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
    finally:
        loader.dispose()

    def line_of(path: str) -> int | None:
        node, line, rest = root, None, path
        while isinstance(node, yaml.MappingNode) and rest:
            keys = {key.value: (key, value) for key, value in node.value if isinstance(key.value, str)}
            parts = rest.split(".")
            starts = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
            found = next((start for start in starts if start in keys), None)
            if found is None:
                break
            key, node = keys[found]
            line, rest = key.start_mark.line + 1, rest[len(found) + 1 :]
        return line

    return line_of


def _refuse_repeats(root: yaml.Node) -> None:
    """Refuse a mapping with a key that is there twice; a text refers to the same part as often as it likes."""
    seen, waiting = set(), [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen or isinstance(node, yaml.ScalarNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
            continue
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            waiting += [key, value]
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            line = key.start_mark.line + 1
            if (key.tag, key.value) in lines:
                first = lines[key.tag, key.value]
                raise YamlFault(f"has the key {key.value[:LONGEST]} twice, in lines {first} and {line}; keep one")
            lines[key.tag, key.value] = line
