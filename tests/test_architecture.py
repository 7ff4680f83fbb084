"""What ARCHITECTURE.md says of the folders is true: its paths exist, its tables are those of the code."""

import re
import runpy
from pathlib import Path

import pytest

import fastsoftmax

HERE = Path(fastsoftmax.__file__).parent
PAGE = (HERE / "ARCHITECTURE.md").read_text()
WINGS = ("kernels/cython", "kernels/numba")
KERNELS = "kernels/*.py"
LEAVES = {"_extras", "_version"}
SOURCES = {".py", ".pyx", ".hpp"}


def table(heading):
    """The rows of the first table under a heading, each a list of cells."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]
    rows = re.findall(r"^\| (.*) \|$", section, re.MULTILINE)
    return [[cell.strip() for cell in row.split("|")] for row in rows[1:]]


def in_backticks(text):
    return re.findall(r"`([^`\n]+)`", text)


def as_room(module):
    """The path by which the page's table calls a room of the table of imports."""
    path = module.replace(".", "/")
    rooms = (*WINGS, "kernels/numpy", "kernels/api")
    if path.startswith("kernels/") and path not in rooms:  # `kernels/machine/` goes with the files
        return KERNELS
    return f"{path}/" if (HERE / path).is_dir() else f"{path}.py"


def folders(top):
    """Folders below ``top`` that hold sources; in an installation, benchmarks are among them."""
    found = {file.parent.relative_to(top).as_posix() for file in top.rglob("*") if file.suffix in SOURCES}
    return {folder for folder in found - {"."} if not folder.startswith("benchmarks")}


def test_every_path_exists():
    paths = [text for text in in_backticks(PAGE) if "/" in text or text.endswith((".py", ".hpp", ".pyx", ".md"))]
    assert len(paths) >= 30
    places = [HERE, HERE / "kernels", HERE / "sklearn", *(HERE / wing for wing in WINGS)]
    assert not [path for path in paths if not any(list(place.glob(path)) for place in places)]


def test_every_room_has_a_row():
    named = {room.rstrip("/") for row in table("Rooms") for room in in_backticks(row[0] + row[1])}
    rooms = {folder for folder in folders(HERE) if not folder.startswith("kernels")}
    assert rooms <= named
    assert {f"kernels/{wing}" for wing in ("cython", "numba", "numpy", "api")} <= named


def test_the_column_of_imports_is_the_table_that_a_test_holds():
    allowed = runpy.run_path(str(Path(__file__).parent / "test_layers.py"))["MAY_IMPORT"]
    wanted = {}
    for module, others in allowed.items():
        if module not in LEAVES and not module.startswith("__"):
            imports = {as_room(other) for other in others if other not in LEAVES}
            wanted.setdefault(as_room(module), set()).update(imports - {as_room(module)})
    assert {in_backticks(row[0])[0]: set(in_backticks(row[2])) for row in table("Rooms")} == wanted


def test_storeys_are_the_folders_of_the_wings():
    rows = {row[0].strip("`/") for row in table("Storeys of a wing")}
    assert {folder for wing in WINGS for folder in folders(HERE / wing)} == rows


@pytest.mark.parametrize("row", table("Storeys of a wing"), ids=lambda row: row[0])
def test_files_that_both_wings_have_are_named(row):
    cython, numba = ({file.stem for file in (HERE / wing / row[0].strip("`")).glob("*.*")} for wing in WINGS)
    assert set(in_backticks(row[2])) == (cython & numba) - {"__init__"}
