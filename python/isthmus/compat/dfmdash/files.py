"""The files of a run: folders, YAML that a safe loader reads, and writes that are whole or not at all."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def batch_folder(outdir: Path, name: Any) -> Path:
    """The folder of a batch: its label, with characters that paths cannot hold written as %XX."""
    if name is None:
        return outdir
    safe = re.sub(r'[%/\\:*?"<>|\x00-\x1f]', lambda found: f"%{ord(found.group()):02X}", str(name))
    return outdir / (safe if safe.strip(". ") else "%" + "".join(f"{ord(c):02X}" for c in safe))


def to_yaml(info: dict[str, Any]) -> str:
    """Plain YAML of a mapping of scalars, lists of text, and one level of mappings: strings are quoted as in JSON."""
    lines: list[str] = []
    for key, value in info.items():
        if isinstance(value, dict):
            lines.append(f"{key}:" + ("" if value else " {}"))
            for name, items in value.items():
                lines.append(f"  {json.dumps(str(name))}:")
                lines += [f"  - {json.dumps(str(item))}" for item in items]
        elif isinstance(value, Iterable) and not isinstance(value, str):
            items = list(value)
            lines.append(f"{key}:" + ("" if items else " []"))
            lines += [f"- {json.dumps(str(item))}" for item in items]
        else:
            lines.append(f"{key}: {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write beside, then rename: a reader never sees half a file."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
