"""What is in the three archives that we ship: the sdist, the wheel and R's source tarball."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSION = re.search(r"^Version: (\S+)$", (ROOT / "DESCRIPTION").read_text(encoding="utf-8"), re.MULTILINE).group(1)
TOP_FILES = {"CMakeLists.txt", "DESCRIPTION", "LICENSE.md", "README.md", "pyproject.toml"}


def run(*command: str | Path, cwd: Path) -> None:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def members(archive: Path) -> set[str]:
    """Files of a .tar.gz, without the folder that holds them all."""
    with tarfile.open(archive) as opened:
        return {member.name.split("/", 1)[1] for member in opened.getmembers() if member.isfile()}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files git knows, as they are in the working tree, plus litter that no archive may pick up."""
    folder = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    for name in [
        ".venv/lib/thing.py",
        "build/leftover.o",
        "demo-output/top.csv",
        "python/isthmus/notes.txt",
        "cpp/a.out",
    ]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("litter", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def python_archives(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from that sdist alone."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ".", cwd=checkout)
    return next(out.glob("*.tar.gz")), next(out.glob("*.whl"))


def package_files(checkout: Path) -> set[str]:
    folder = checkout / "python" / "isthmus"
    files = {path for path in folder.rglob("*") if path.suffix in {".py", ".pyi"} or path.name == "py.typed"}
    return {path.relative_to(folder).as_posix() for path in files}


def test_sdist_holds_the_python_package_and_nothing_else(checkout: Path, python_archives: tuple[Path, Path]) -> None:
    sources = {path.relative_to(checkout).as_posix() for path in (checkout / "cpp").rglob("*.?pp")}
    expected = TOP_FILES | sources | {f"python/isthmus/{name}" for name in package_files(checkout)}
    assert members(python_archives[0]) - {"PKG-INFO"} == expected


def test_wheel_from_the_sdist_holds_every_module_and_the_extension(
    checkout: Path, python_archives: tuple[Path, Path]
) -> None:
    with zipfile.ZipFile(python_archives[1]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        metadata = wheel.read(f"isthmus-{VERSION}.dist-info/METADATA").decode()
        assert f"isthmus-{VERSION}.dist-info/licenses/LICENSE.md" in wheel.namelist()
    extensions = {name for name in names if re.fullmatch(r"isthmus/_core\.[\w.-]+\.(so|pyd)", name)}
    assert len(extensions) == 1
    assert names - extensions == {f"isthmus/{name}" for name in package_files(checkout)}
    assert f"\nVersion: {VERSION}\n" in metadata
    assert "\nLicense-Expression: BSD-3-Clause\n" in metadata


def test_r_tarball_holds_r_files_only(checkout: Path, tmp_path: Path) -> None:
    run("R", "CMD", "build", "--no-manual", "--no-build-vignettes", checkout, cwd=tmp_path)
    names = members(next(tmp_path.glob("isthmus_*.tar.gz")))
    allowed_folders = {"R", "man", "inst", "tests", "vignettes", "build"}  # R CMD build writes its own build/
    allowed_files = {"DESCRIPTION", "NAMESPACE", "LICENSE", "NEWS.md", "README.md"}
    assert {name for name in names if name.split("/")[0] not in allowed_folders} <= allowed_files
    assert not {name for name in names if name.startswith("build/") and not name.endswith((".rds", ".pdf", ".rdb"))}
    tests = {name.split("/")[1] for name in names if name.startswith("tests/")}
    assert tests <= {"testthat.R", "testthat", "contract"}
    demos = {f"inst/scripts/demo{part}.py" for part in ("", "-ambient", "-factors", "-interactions")}
    assert {name for name in names if name.endswith((".py", ".cpp", ".hpp", ".toml"))} <= demos


def test_r_tarball_keeps_every_r_file(checkout: Path, tmp_path: Path) -> None:
    # .Rbuildignore patterns ignore case: a careless `^r$` drops R/ and R CMD build says nothing.
    run("R", "CMD", "build", "--no-manual", "--no-build-vignettes", checkout, cwd=tmp_path)
    names = members(next(tmp_path.glob("isthmus_*.tar.gz")))
    for pattern in ["R/*.R", "man/*.Rd", "inst/**/*", "tests/testthat/**/*", "tests/contract/*.json"]:
        expected = {path.relative_to(checkout).as_posix() for path in checkout.glob(pattern) if path.is_file()}
        assert expected <= names


def test_extras_leave_torch_out_of_the_core() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    heavy = {"torch", "scvi-tools", "matplotlib", "rpy2", "anndata2ri", "dask", "xarray"}
    assert not heavy & {re.split(r"[^\w-]", requirement)[0] for requirement in project["dependencies"]}
    assert {"deep", "rpy2", "plot", "dask", "compat", "all", "test", "dev"} == set(project["optional-dependencies"])
    assert not [
        requirement
        for requirement in project["dependencies"]
        if re.search("[<=]=?[^>]*$", requirement.replace(">=", ""))
    ]


def test_one_version_number() -> None:
    import isthmus

    heading = (ROOT / "NEWS.md").read_text(encoding="utf-8").splitlines()[0]
    assert (isthmus.__version__, heading) == (VERSION, f"# isthmus {VERSION}")
    assert "\nversion =" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def help_pages() -> dict[str, set[str]]:
    """The topics of each help page of R that is not internal."""
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "man").glob("*.Rd")}
    public = {name: text for name, text in pages.items() if "\\keyword{internal}" not in text}
    return {name: set(re.findall(r"^\\alias\{(.+)\}$", text, re.MULTILINE)) for name, text in public.items()}


def test_the_reference_index_of_the_site_lists_every_help_page_once() -> None:
    text = (ROOT / "_pkgdown.yml").read_text(encoding="utf-8")
    assert "\ndestination: _site\n" in text
    listed = re.findall(r"^  - (\S+)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(help_pages())


def test_every_export_of_r_has_a_help_page_of_the_index() -> None:
    namespace = (ROOT / "NAMESPACE").read_text(encoding="utf-8")
    exports = set(re.findall(r"^export\((.+)\)$", namespace, re.MULTILINE))
    assert exports <= set().union(*help_pages().values())
    assert len(exports) > 40
