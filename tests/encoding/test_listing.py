"""Lists of images as people write them: the right names, or the one error."""

import shutil
from pathlib import Path

import pytest
from conftest import SHARED, save_image

from fdhmfe.encoding.job import list_images
from fdhmfe.encoding.listing import line_of, read_names

NAMES = ["a.jpg", "my b.jpg", "sub/c.png", "Smith, John.jpg"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("album")
    for seed, name in enumerate(NAMES):
        save_image(root / name, seed)
    return root


def rows(form: str, names: list[str] = NAMES, end: str = "\n") -> str:
    return "".join(form.format(name=name, number=i) + end for i, name in enumerate(names, 1))


PLAIN = rows("{name}")
BOM, UTF16 = "\ufeff", "utf-16"
FEW = [NAMES[0], NAMES[2]]
LISTS: dict[str, tuple[str | bytes, list[str]]] = {
    "plain": (PLAIN, NAMES),
    "no end of the last line": (PLAIN[:-1], NAMES),
    "byte order mark": (BOM + PLAIN, NAMES),
    "UTF-16 of Windows": (PLAIN.encode(UTF16), NAMES),
    "UTF-16, big end first": ((BOM + PLAIN).encode("utf-16-be"), NAMES),
    "CRLF": (rows("{name}", end="\r\n"), NAMES),
    "CR": (rows("{name}", end="\r"), NAMES),
    "mark and CRLF": (BOM + rows("{name}", end="\r\n"), NAMES),
    "empty lines": ("\n\n" + rows("{name}", end="\n\n \n"), NAMES),
    "spaces around": (rows("  {name}\t"), NAMES),
    "comments": ("# my album\n" + PLAIN + "#end\n", NAMES),
    "double quotes": (rows('"{name}"'), NAMES),
    "single quotes": (rows("'{name}'"), NAMES),
    "some in quotes": ('a.jpg\n"my b.jpg"\n', ["a.jpg", "my b.jpg"]),
    "./ before": (rows("./{name}"), [f"./{name}" for name in NAMES]),
    "one": ("a.jpg", ["a.jpg"]),
    "header alone on its line": ("filename\n" + PLAIN, NAMES),
    "CSV": (rows('"{name}",{number}'), NAMES),
    "CSV with header": ("path,label\n" + rows('"{name}",{number}'), NAMES),
    "CSV with mark, header, CRLF": (
        BOM + "path,label\r\n" + rows('"{name}",{number}', end="\r\n"),
        NAMES,
    ),
    "CSV, path second": ("label,path\n" + rows('{number},"{name}"'), NAMES),
    "CSV of pandas": (",path,label\n" + rows('{number},"{name}",x'), NAMES),
    "CSV, nothing quoted": ("path,label\n" + rows("{name},{number}", FEW), FEW),
    "CSV, path last, nothing quoted": ("label,path\n" + rows("{number},{name}", FEW), FEW),
    "CSV without header": (rows("{name},{number}", FEW), FEW),
    "semicolons": ("path;label\n" + rows("{name};{number}"), NAMES),
    "TSV": ("path\tlabel\n" + rows("{name}\t{number}"), NAMES),
    "id and path": (rows("{number} {name}"), NAMES),
    "path and label": (rows("{name} {number}"), NAMES),
    "named twice": (PLAIN + "a.jpg\n", NAMES),
    "one is not there": (PLAIN + "gone.jpg\n", [*NAMES, "gone.jpg"]),
    "none is there": ("x.jpg\ny.png\n", ["x.jpg", "y.png"]),
}


@pytest.mark.parametrize("suffix", [".txt", ".csv"])
@pytest.mark.parametrize("kind", LISTS)
def test_a_list_gives_its_names(kind, suffix, place, tmp_path):
    root = shutil.copytree(place, tmp_path / "album")
    content, names = LISTS[kind]
    path = root / f"list{suffix}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert list_images(path) == (root.resolve(), names)


ODD = [
    *("a\nb.jpg", "a\r\nb.jpg", "\n.jpg", "a\u2028b.jpg", "a\x85b.jpg", "a\x0bb.jpg", "a\x1cb.jpg"),
    *(
        '"quoted".jpg',
        '"half.jpg',
        "back\\slash.jpg",
        "tab\t.jpg",
        " space before.jpg",
        "after .png",
    ),
    *(
        "caf\udce9.jpg",
        "\udcff\udcfe.jpg",
        "café.jpg",
        "蝴蝶 🦋.jpg",
        "#1.jpg",
        "a,b;c.jpg",
        "'x'.jpg",
    ),
    *("1 a.jpg", "%20.jpg", "{x}$y.jpg", "a" * 200 + ".jpg"),
]


@pytest.mark.parametrize("name", ODD)
def test_every_name_that_a_file_can_have_is_one_line(name, tmp_path):
    line = line_of(name)
    assert line.splitlines() == [line]
    (tmp_path / "images.txt").write_text(f"x.jpg\n{line}\ny.jpg\n", encoding="utf-8")
    assert read_names(tmp_path / "images.txt") == ["x.jpg", name, "y.jpg"]
    assert line == name or line.startswith('"')
    for each in ("x.jpg", name, "y.jpg"):
        save_image(tmp_path / each, 0)
    assert list_images(tmp_path / "images.txt")[1] == ["x.jpg", name, "y.jpg"]
    assert sorted(list_images(tmp_path)[1]) == sorted(["x.jpg", name, "y.jpg"])


def test_a_list_that_is_not_utf_8(tmp_path):
    name = "caf\udce9.jpg"  # as Latin-1 has it
    save_image(tmp_path / name, 0)
    (tmp_path / "list.txt").write_bytes(b"caf\xe9.jpg\n")
    assert list_images(tmp_path / "list.txt")[1] == [name]


@pytest.mark.parametrize("suffix", [".jpg", ".PNG", ".tif", ".webp", "", ".txt", ".dat"])
def test_one_photograph_is_a_fine_input(suffix, tmp_path):
    kind = suffix if suffix.lower() in (".jpg", ".png", ".tif", ".webp") else ".jpg"
    path = save_image(tmp_path / f"photo{kind}", 0).rename(tmp_path / f"my photo{suffix}")
    assert list_images(path) == (tmp_path.resolve(), [f"my photo{suffix}"])


REFUSED = {
    "absent": (None, "is not there: give a folder of images, a list of their paths, or one image"),
    "empty": (b"", "names no images"),
    "lines without names": (b"\n \n\r\n", "names no images"),
    "comments": (b"# a.jpg\n# b.jpg\n", "names no images"),
    "text": (b"Dear all,\nplease find enclosed\n", r"names no images \(it begins: Dear all,"),
    "numbers": (b"1,2\n3,4\n", "names no images"),
    "binary": (b"\0\1\2" * 99, "is neither a list of paths nor an image"),
    "an archive": (b"PK\3\4\0\0\0\0", "is neither a list of paths nor an image"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_list_is_refused(kind, tmp_path):
    content, message = REFUSED[kind]
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        list_images(tmp_path / "list.txt")
    assert "list.txt" in str(error.value) and len(str(error.value).splitlines()) == 1


def test_a_folder_without_images_says_what_is_in_it(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match="names no images"):
        list_images(tmp_path)
    assert "skipped, no format that Pillow reads: 1 (notes.txt)" in capsys.readouterr().out


@pytest.mark.skipif(not (SHARED / "cases").is_dir(), reason="no cases beside the repository")
@pytest.mark.parametrize(
    ("case", "names"),
    [
        *(("lists/bom.txt", ["a.jpg", "b.jpg"]), ("lists/list.csv", ["a.jpg", "b.jpg"])),
        *(("single/photo.jpg", ["photo.jpg"]), ("junk", ["cat/x.jpg"])),
    ],
)
def test_the_cases_beside_the_repository(case, names):
    assert list_images(SHARED / "cases" / case)[1] == names
