"""Linear expressions over parameter names, such as ``2*condition[T.b] - (Intercept) = 0.5``, read into coefficients.

Names hold brackets, colons, spaces and operators, so they are found first (longest match at each position, or between
backticks) and replaced by plain identifiers; what is left is arithmetic, which Python's own parser reads. Chains
(``a = b = c``) and several constraints in one text (``a = 0, b = 0``) are split before that.
"""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from isthmus.data.wording import did_you_mean
from isthmus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORD = re.compile(r"[A-Za-z0-9_.]")
_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_UNKNOWN = re.compile(r"[^\s+\-*/=,()]+")


def read_constraints(text: str, names: Sequence[str], *, argument: str) -> tuple[np.ndarray, np.ndarray]:
    """``R (k, p)`` and ``q (k,)`` of the constraints in `text`; without ``=`` an expression equals 0.

    Raises
    ------
    InputError
        Unknown names, products of parameters, or text that is no linear expression.
    """
    rows, values = [], []
    for part in _replace_names(text, names, argument).replace("==", "=").split(","):
        sides = [_linear(side, len(names), text, argument) for side in part.split("=")]
        # a lone expression is compared with zero, a chain a = b = c gives a - b = 0 and b - c = 0
        sides = [*sides, np.zeros(len(names) + 1)] if len(sides) == 1 else sides
        for left, right in pairwise(sides):
            difference = left - right
            rows.append(difference[:-1])
            values.append(-difference[-1])
    return np.array(rows), np.array(values)


def write_linear(coefficients: np.ndarray, names: Sequence[str]) -> str:
    """The text of a linear expression: ``b - 2*a``."""
    text = ""
    for coefficient, name in zip(coefficients, names, strict=True):
        if coefficient:
            size = "" if abs(coefficient) == 1 else f"{abs(coefficient):g}*"
            sign = " - " if coefficient < 0 else " + "
            text += f"{sign if text else sign.strip().replace('+', '')}{size}{name}"
    return text or "0"


def _replace_names(text: str, names: Sequence[str], argument: str) -> str:
    by_length = sorted(enumerate(names), key=lambda item: -len(item[1]))
    out, at = [], 0
    while at < len(text):
        if text[at] == "`":
            end = text.find("`", at + 1)
            quoted = text[at + 1 : end] if end > 0 else text[at + 1 :]
            if quoted not in names:
                _refuse_name(quoted, names, text, argument)
            out.append(f" _p{list(names).index(quoted)}_ ")
            at = end + 1
            continue
        found = next((item for item in by_length if _is_name_at(text, at, item[1])), None)
        number = _NUMBER.match(text, at)
        if found is not None:
            out.append(f" _p{found[0]}_ ")
            at += len(found[1])
        elif number:
            out.append(number.group())
            at = number.end()
            if at < len(text) and _WORD.match(text[at]):
                _refuse_name(_rest_of_word(text, number.start()), names, text, argument)
        elif _UNKNOWN.match(text, at):
            _refuse_name(_rest_of_word(text, at), names, text, argument)
        else:
            out.append(text[at])
            at += 1
    return "".join(out)


def _is_name_at(text: str, at: int, name: str) -> bool:
    """Whether `name` starts here and ends where a word ends. A name that reads as a number needs backticks."""
    if not name or not text.startswith(name, at) or _NUMBER.fullmatch(name):
        return False
    end = at + len(name)
    before_ok = at == 0 or not (_WORD.match(name[0]) and _WORD.match(text[at - 1]))
    after_ok = end == len(text) or not (_WORD.match(name[-1]) and re.match(r"[A-Za-z0-9_.\[(:]", text[end]))
    return before_ok and after_ok


def _rest_of_word(text: str, at: int) -> str:
    match = _UNKNOWN.match(text, at)
    return match.group() if match else text[at]


def _refuse_name(word: str, names: Sequence[str], text: str, argument: str) -> None:
    msg = f"`{argument}` must use the names of the parameters; got '{word}' in '{text}'. {did_you_mean(word, names)}"
    raise InputError(msg)


def _linear(side: str, n: int, text: str, argument: str) -> np.ndarray:
    """``(n + 1,)``: the coefficients, then the constant."""
    try:
        return _evaluate(ast.parse(side.strip(), mode="eval").body, n)
    except (SyntaxError, ZeroDivisionError, _NotLinearError):
        msg = (
            f"`{argument}` must be linear in the parameters, such as 'b - 2*a = 0.5'; got '{text}'. Use names, "
            "numbers, + - * / and =."
        )
        raise InputError(msg) from None


class _NotLinearError(Exception):
    """A product or quotient of parameters, or anything else that is no linear expression."""


def _evaluate(node: ast.expr, n: int) -> np.ndarray:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return np.append(np.zeros(n), float(node.value))
    if isinstance(node, ast.Name) and re.fullmatch(r"_p\d+_", node.id):
        return np.eye(n + 1)[int(node.id[2:-1])]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _evaluate(node.operand, n)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = _evaluate(node.left, n), _evaluate(node.right, n)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.Mult) and (not left[:-1].any() or not right[:-1].any()):
            return left * right[-1] if not right[:-1].any() else right * left[-1]
        if isinstance(node.op, ast.Div) and not right[:-1].any():
            if right[-1] == 0:
                raise ZeroDivisionError
            return left / right[-1]
    raise _NotLinearError
