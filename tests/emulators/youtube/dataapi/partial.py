"""Partial responses: the common part of the `fields` language, `a,b(c,d),e/f` and `*`.

Applied last, to a finished answer.
"""

from __future__ import annotations

import re
from typing import Any

Selection = dict[str, Any]


def parse(fields: str) -> Selection:
    selection, _ = _parse(re.findall(r"[^,()/\s]+|[,()/]", fields), 0)
    return selection


def _parse(tokens: list[str], at: int) -> tuple[Selection, int]:
    selection: Selection = {}
    target, name = selection, ""
    while at < len(tokens) and tokens[at] != ")":
        token = tokens[at]
        if token == "(":
            target[name], at = _parse(tokens, at + 1)
        elif token == "/":
            target[name] = target[name] or {}
            target = target[name]
        elif token == ",":
            target = selection
        else:
            name = token
            target.setdefault(name, {})
        at += 1
    return selection, at


def pick(value: Any, selection: Selection) -> Any:
    """What the selection keeps; an empty selection keeps all."""
    if not selection or "*" in selection:
        return value
    if isinstance(value, list):
        return [pick(item, selection) for item in value]
    if isinstance(value, dict):
        return {name: pick(value[name], inner) for name, inner in selection.items() if name in value}
    return value
