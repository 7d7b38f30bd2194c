"""The tree itself: what is installed, what is documented, and what must not be in it."""

from __future__ import annotations

import configparser
import doctest
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
INSTALLED_FROM = {
    "diffrender": "diffrender",
    "shape_priors": "diffrender.shape_priors",
    "datasets": "diffrender.datasets",
    "tools": "diffrender.tools",
}
TEXT = {".py", ".md", ".cfg", ".toml", ".txt", ".yaml", ".yml", ".cpp", ".h", ".hpp", ".json"}
TEXT |= {".html", ".js", ".css", ".cff", ".in", ".log", ".csv", ""}


def _setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def _tracked() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_every_package_is_listed_for_installation() -> None:
    listed = set(_setup()["options"]["packages"].split())
    there = set()
    for folder, package in INSTALLED_FROM.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT / folder).parts
            there.add(".".join((package, *parts)))
    assert listed == there


def test_every_data_file_is_listed_for_installation() -> None:
    """A file beside the modules that no pattern of package_data matches would not be shipped."""
    patterns = dict(_setup()["options.package_data"])
    lost = []
    for path in _tracked():
        folder, *rest = path.relative_to(ROOT).parts
        if folder not in INSTALLED_FROM or path.suffix == ".py":
            continue
        # The nearest folder upwards that is a package, and the name below it.
        home = path.parent
        while not (home / "__init__.py").is_file():
            home = home.parent
        package = ".".join((INSTALLED_FROM[folder], *home.relative_to(ROOT / folder).parts))
        globs = re.split(r"[,\s]+", patterns.get(package, ""))
        if path not in {match for glob in globs if glob for match in home.glob(glob)} and not any(
            glob.endswith("/**") and path.is_relative_to(home / glob[:-3]) for glob in globs
        ):
            lost.append("/".join((folder, *rest)))
    assert lost == []


def test_requirements_are_constrained() -> None:
    """What `make test` installs by name has one known version."""
    pinned = {
        line.split("==")[0]
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    setup = _setup()
    wanted = setup["options"]["install_requires"].split()
    wanted += setup["options.extras_require"]["test"].split()
    names = {re.split(r"[<>=\[]", name)[0] for name in wanted} | {"torchvision"}
    assert names - pinned == set()


def test_no_machine_paths_in_the_tree() -> None:
    # Spelt in pieces so that this file does not hold what it looks for.
    homes = ["/" + "root/", "/" + "home/", "/" + "Users/", "/" + "work/", "/" + "tmp/w/"]
    pattern = re.compile(r"(?<![\w.~/-])(" + "|".join(map(re.escape, homes)) + ")")
    found = []
    for path in _tracked():
        if path.suffix not in TEXT:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert found == []


def test_no_large_file_in_the_tree() -> None:
    large = [f"{p.relative_to(ROOT)} {p.stat().st_size}" for p in _tracked()]
    assert [name for name in large if int(name.split()[-1]) > 9 * 2**20] == []


@pytest.mark.parametrize("page", ["conventions.md", "blocksparse.md"])
def test_snippets_of_the_pages_run(page: str) -> None:
    result = doctest.testfile(str(ROOT / "docs" / page), module_relative=False)
    assert result.attempted > 10
    assert result.failed == 0


def test_links_of_the_pages_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    broken = []
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []
