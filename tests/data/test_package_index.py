"""The libraries of the corpus packages: which files of a package are known and open."""

from __future__ import annotations

from random import Random

from model.data.definitions import defining_files
from model.data.package_index import OPENED, PackageIndex

FILES = [
    ("p", path, f"def {path[-4]}{i}(): ...\n")
    for i, path in enumerate([*(f"a/{c}.py" for c in "xyz"), *(f"b/{c}.py" for c in "uvwxyz")])
]
OTHERS = [("q", "a/x.py", "def other(): ...\n")]


def test_a_library_has_only_the_files_of_its_package() -> None:
    package_index = PackageIndex([*FILES, *OTHERS])
    library = package_index.library("p", "a/y.py")
    assert set(library.entries) == {path for _, path, _ in FILES}
    found = defining_files(tuple(library.entries.values()))
    assert found["x0"] == ("a/x.py",) and "other" not in found
    assert package_index.library("none", "a/y.py").entries == {}


def test_files_of_the_same_folder_are_open_first() -> None:
    package_index = PackageIndex(FILES)
    assert package_index.library("p", "a/y.py").opened == ("a/x.py", "a/z.py", "b/u.py", "b/v.py", "b/w.py")
    drawn = [package_index.library("p", "a/y.py", Random(i)).opened for i in range(40)]
    assert {len(opened) for opened in drawn} == set(range(1, OPENED + 1))
    assert all(set(opened[:2]) == {"a/x.py", "a/z.py"} for opened in drawn if len(opened) > 1)
    assert package_index.library("p", "a/y.py", Random(3)).opened == drawn[3]


def test_a_limit_selects_the_same_files_each_time() -> None:
    one, other = (
        set(PackageIndex(files, 4).library("p", "a/x.py").entries) for files in (FILES, FILES[::-1])
    )
    assert one == other and len(one) == 4


def test_the_files_of_a_package_are_read_once() -> None:
    package_index = PackageIndex(FILES)
    assert package_index.library("p", "a/x.py").entries is package_index.library("p", "b/v.py").entries
