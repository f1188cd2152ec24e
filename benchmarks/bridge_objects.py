"""The one-feature SingleCellExperiments of ../shared/checks, there and back: ours, and anndata2ri in the same R.

Writes results/bridge_objects.md and what the vignette shows, with zellkonverter's column from an earlier measurement
(bridge_zellkonverter.csv says which).

    python benchmarks/bridge_objects.py
"""

from __future__ import annotations

import csv
import datetime
import re
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OBJECTS = HERE.parents[1] / "shared" / "checks" / "one_feature_sces.R"
SAME, BY_VALUE = "as it was", "as it was by value"


def outcome(go: Callable[[Any], Any], build: Any, name: str, ro: Any) -> str:
    """What came back of one object, in the words of the script that made it."""
    sce = build()
    try:
        back = go(sce)
        if ro.r["identical"](back, sce)[0]:
            return SAME
        text = str(ro.globalenv["report"](name, sce, back)[0])
    except Exception as error:
        return f"error: {short(str(error))}"
    return in_words(text)


def in_words(text: str) -> str:
    """The report's notes; a name of the first assay that is lost is said once, above the table."""
    notes = [note for note in text.split(" ; ") if not note.startswith("assayname")]
    return short("; ".join(map(one_note, notes))) if notes and notes != ["kept"] else BY_VALUE


def one_note(note: str) -> str:
    found = re.fullmatch(r"(.+?): (values ok|VALUES CHANGED) (.+)->(.+)", note)
    if not found:
        return note.replace("LOST", "lost").replace("extra colData", "new name")
    part, how, before, after = found.groups()
    after = re.sub(r"matrix/array<(\w+)>", r"\1 matrix", re.sub(r"(\w+)<\1>|double<double>", r"\1", after))
    if "DelayedMatrix" in after:
        return f"{part}: read into memory, wrapped again"
    if how == "values ok" and before == found[4]:
        return f"{part}: values kept, attributes differ"
    return f"{part}: becomes {after}" if how == "values ok" else f"{part}: values changed, becomes {after}"


def short(text: str) -> str:
    line = next((line for line in text.splitlines() if line.strip()), "").replace("|", "/")
    line = re.sub(r"\(built-in method .*?\)|'<rpy2\.\S+.*", "", line)
    return line if len(line) <= 90 else line[:87] + "..."


def ours() -> Callable[[Any], Any]:
    import isthmus

    def go(sce: Any) -> Any:
        return isthmus.as_sce(isthmus.as_anndata(sce, on_loss="ignore"), on_loss="ignore")

    return go


def anndata2ri_there_and_back(ro: Any) -> Callable[[Any], Any]:
    import anndata2ri
    from rpy2.robjects.conversion import localconverter

    converter = ro.default_converter + anndata2ri.converter

    def go(sce: Any) -> Any:
        with localconverter(converter) as active:
            return active.py2rpy(active.rpy2py(sce))

    return go


def zellkonverter() -> dict[str, str]:
    lines = (HERE / "bridge_zellkonverter.csv").read_text(encoding="utf-8").splitlines()
    rows = csv.reader(line for line in lines if not line.startswith("#"))
    return {name: said for name, said in rows}


def rows() -> list[tuple[str, str, str, str]]:
    from rpy2 import robjects as ro

    ro.r["source"](str(OBJECTS))
    theirs = zellkonverter()
    go_ours, go_theirs = ours(), anndata2ri_there_and_back(ro)
    found = []
    cases = ro.globalenv["cases"]
    for name, build in zip(cases.names, cases, strict=True):
        try:
            build()
        except Exception as error:
            found.append((name, *[f"not made here: {short(str(error))}"] * 2, theirs[name]))
            continue
        found.append((name, outcome(go_ours, build, name, ro), outcome(go_theirs, build, name, ro), theirs[name]))
    return found


def main() -> None:
    warnings.simplefilter("ignore")
    found = rows()
    same = [sum(row[k].startswith(SAME) for row in found) for k in (1, 2)]
    about = (
        f"isthmus {version('isthmus')}, anndata2ri {version('anndata2ri')}, anndata {version('anndata')}, "
        f"rpy2 {version('rpy2')}"
    )
    lines = [
        "# One feature at a time: SingleCellExperiment to AnnData and back",
        "",
        f"`python benchmarks/bridge_objects.py`, {datetime.date.today()}; {about}. {len(found)} objects.",
        '"As it was" is `identical()`, "by value" is `all.equal()` of the part in question. The feature came back as',
        f"it was in {same[0]} objects with isthmus and in {same[1]} with anndata2ri, whose first assay becomes `X`",
        "(not counted here). zellkonverter 1.15.4 was measured earlier, with reticulate 1.41.",
        "",
        "| object | isthmus | anndata2ri | zellkonverter |",
        "|---|---|---|---|",
        *[f"| {' | '.join(row)} |" for row in found],
    ]
    (HERE / "results" / "bridge_objects.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    # the vignette shows the same table
    with (HERE.parent / "inst" / "extdata" / "bridge_objects.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("object", "isthmus", "anndata2ri", "zellkonverter"), *found])
    print("\n".join(lines))


if __name__ == "__main__":
    main()
