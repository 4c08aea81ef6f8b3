from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.dataset.scenes import put

from beltsight.dataset import Dataset, index, load_dataset
from beltsight.errors import BeltsightError, DatasetError, SplitError, TaxonomyError
from beltsight.taxonomy import Taxonomy, load_taxonomy

HEADER = "path,material,split\n"
ROWS = "a.jpg,glass,train\nb.jpg,paper,test\n"


def csv_set(root: Path, text: str | bytes, *photos: str, name: str = "splits.csv") -> Path:
    put(root / name, text if isinstance(text, bytes) else text.encode())
    for photo in photos or ("a.jpg", "b.jpg"):
        put(root / photo, b"x")
    return root


def folder_set(root: Path, *photos: str) -> Path:
    for photo in photos:
        put(root / photo, b"x")
    return root


def seen(dataset: Dataset, task: str = "material") -> list[tuple[str, str | None, str | None]]:
    return [(dataset.shown_path(s), s.labels.get(task), s.split) for s in dataset.samples]


AS_WRITTEN = [("a.jpg", "glass", "train"), ("b.jpg", "paper", "test")]
READABLE: dict[str, str | bytes] = {
    "plain": HEADER + ROWS,
    "byte order mark": b"\xef\xbb\xbf" + (HEADER + ROWS).encode(),
    "line ends of Windows": (HEADER + ROWS).replace("\n", "\r\n"),
    "line ends of old Macs": (HEADER + ROWS).replace("\n", "\r"),
    "semicolons": (HEADER + ROWS).replace(",", ";"),
    "tabs": (HEADER + ROWS).replace(",", "\t"),
    "capitals": "Path,Material,SPLIT\n" + ROWS.replace("train", "Train"),
    "column file": HEADER.replace("path", "file") + ROWS,
    "spaces": "path , material,split\n a.jpg, glass ,train\nb.jpg,paper, test \n",
    "blank lines": HEADER + "\n" + ROWS + "\n\n,,\n",
    "quotes": '"path","material","split"\n"a.jpg","glass","train"\n"b.jpg",paper,test\n',
    "no line end at last": (HEADER + ROWS).rstrip(),
    "another column": "path,note,material,split\na.jpg,hm,glass,train\nb.jpg,,paper,test\n",
    "dots": HEADER + ROWS.replace("a.jpg", "./a.jpg"),
    "aliases": HEADER + "a.jpg,glass,training\nb.jpg,paper,testing\n",
    "unsorted": HEADER + "b.jpg,paper,test\na.jpg,glass,train\n",
}


def test_a_csv_beyond_its_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_MAX_CSV_BYTES", 10)
    with pytest.raises(DatasetError, match="over 10 bytes; split it into several"):
        load_dataset(csv_set(tmp_path, HEADER + ROWS))


@pytest.mark.parametrize("form", READABLE)
def test_csv_read_as_meant(form: str, tmp_path: Path) -> None:
    dataset = load_dataset(csv_set(tmp_path, READABLE[form]))
    assert seen(dataset) == AS_WRITTEN
    assert dataset.tasks[0].classes == ("glass", "paper")
    assert dataset.splits == ("train", "test")


DAMAGED: dict[str, tuple[str | bytes, str]] = {
    "utf-16": ((HEADER + ROWS).encode("utf-16"), "not UTF-8 text .* save it as"),
    "latin-1": ("path,material\nå.jpg,glass\n".encode("latin-1"), "not UTF-8"),
    "binary": (bytes(range(256)) * 20, "not UTF-8"),
    "empty": ("", "no column 'path' or 'file'; it has none"),
    "header only": (HEADER, "no rows below the header"),
    "no path": ("name,material\na,glass\n", "no column 'path' or 'file'; it has name, material"),
    "no task": ("path,shape\na.jpg,round\n", r"name the label columns with --task \(it has shape"),
    "column twice": ("path,material,material\na.jpg,glass,x\n", "two columns are called"),
    "column twice in capitals": ("path,Material,material\na.jpg,x,glass\n", "called 'material'"),
    "cell too many": (HEADER + "a.jpg,glass,train,x\n", "line 2: 4 cells, but the header has 3"),
    "cell too few": (HEADER + ROWS + "c.jpg\n", "line 4: 1 cells"),
    "photo twice": (HEADER + ROWS + "./a.jpg,glass,val\n", r"line 4: a\.jpg stands in line 2"),
    "no name": (HEADER + ROWS + ",glass,val\n", "line 4: no file name"),
    "absolute": (HEADER + "/etc/passwd,glass,val\n", "leaves the CSV's folder"),
    "upwards": (HEADER + "../a.jpg,glass,val\n", "leaves the CSV's folder"),
    "upwards inside": (HEADER + "x/../../a.jpg,glass,val\n", "leaves the CSV's folder"),
    "upwards on Windows": (HEADER + "x\\..\\..\\a.jpg,glass,val\n", "leaves the CSV's folder"),
    "drive": (HEADER + "C:\\a.jpg,glass,val\n", "leaves the CSV's folder"),
    "server": (HEADER + "\\\\host\\a.jpg,glass,val\n", "leaves the CSV's folder"),
    "NUL": (HEADER + "a\0.jpg,glass,val\n", "cannot be a file name|not readable as CSV"),
    "endless name": (HEADER + "a" * 5000 + ",glass,val\n", "cannot be a file name"),
    "endless cell": (HEADER + "a" * 200_000 + ",glass,val\n", "not readable as CSV: field larger"),
    "open quote": (HEADER + '"a.jpg,glass,val\n', "not readable as CSV"),
    "line in a label": (HEADER + 'a.jpg,"gl\nass",val\n', "holds control characters"),
    "escape in a label": (HEADER + "a.jpg,gl\x1b[2Jass,val\n", "holds control characters"),
    "no labels": ("path,material\na.jpg,\nb.jpg,\n", "not one photo has a label for material"),
    "no photos": (HEADER + "y.jpg,glass,\nz.jpg,paper,\n", r"not one of its 2 photos is .*y\.jpg"),
    "capitals only": ("path,material\na.jpg,Glass\nb.jpg,glass\n", "'Glass' and 'glass'"),
    "accents": ("path,material\na.jpg,caf\u00e9\nb.jpg,cafe\u0301\n", "how accents are stored"),
    "space before a quote": (HEADER + 'a.jpg,glass,\n"b.jpg", "metal",\n', 'line 3: "metal" has a'),
    "a path behind a space": (HEADER + ' "a.jpg",glass,\n', r'line 2: "a\.jpg" has a space before'),
}  # fmt: skip


@pytest.mark.parametrize("form", DAMAGED)
def test_csv_refused_with_the_reason(form: str, tmp_path: Path) -> None:
    text, expected = DAMAGED[form]
    with pytest.raises(DatasetError, match=expected) as caught:
        load_dataset(csv_set(tmp_path, text))
    assert len(str(caught.value)) < 600 and str(tmp_path) in str(caught.value)


def test_a_wrong_split_names_the_line_and_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SplitError, match="line 3: split 'trian'; did you mean 'train'"):
        load_dataset(csv_set(tmp_path, HEADER + "a.jpg,glass,\nb.jpg,paper,trian\n"))


def test_one_class_is_no_task(tmp_path: Path) -> None:
    with pytest.raises(TaxonomyError, match=f"{tmp_path}: task 'material' needs at least two"):
        load_dataset(csv_set(tmp_path, "path,material\na.jpg,glass\nb.jpg,glass\n"))


def test_a_closed_task_refuses_unknown_labels(tmp_path: Path) -> None:
    text = "path,material,contamination\na.jpg,glass,clean\nb.jpg,paper,cleen\n"
    with pytest.raises(TaxonomyError, match="'cleen' is not in the taxonomy; did you mean 'clean'"):
        load_dataset(csv_set(tmp_path, text))


def test_missing_labels_and_groups(tmp_path: Path) -> None:
    text = (
        "path,material,contamination,group\n"
        "a.jpg,glass,clean,bottle 1\nb.jpg,paper,,\nc.jpg,,partly,bottle 1\n"
    )
    dataset = load_dataset(csv_set(tmp_path, text, "a.jpg", "b.jpg", "c.jpg"))
    assert [dict(s.labels) for s in dataset.samples] == [
        {"material": "glass", "contamination": "clean"},
        {"material": "paper"},
        {"contamination": "partly"},
    ]
    assert [s.group for s in dataset.samples] == ["bottle 1", None, "bottle 1"]
    assert dataset.task("contamination").classes == ("clean", "partly", "heavily")
    assert dataset.task("contamination").ordered and dataset.splits == ()


def test_a_task_without_one_label_is_left_out(tmp_path: Path) -> None:
    text = "path,material,contamination\na.jpg,glass,\nb.jpg,paper,\n"
    assert [t.name for t in load_dataset(csv_set(tmp_path, text)).tasks] == ["material"]


def test_named_columns_and_another_taxonomy(tmp_path: Path) -> None:
    csv_set(tmp_path, "path,shape,material\na.jpg,round,glass\nb.jpg,flat,paper\n")
    assert load_dataset(tmp_path, tasks=["shape"]).tasks[0].classes == ("flat", "round")
    for task in ("path", "shap"):
        with pytest.raises(DatasetError, match=f"no label column '{task}'"):
            load_dataset(tmp_path, tasks=[task])
    taxonomy = Taxonomy.model_validate({"tasks": {"shape": {"open": True}}})
    assert [t.name for t in load_dataset(tmp_path, taxonomy=taxonomy).tasks] == ["shape"]
    assert "material" in load_taxonomy().tasks


def test_photos_below_images_and_with_odd_names(tmp_path: Path) -> None:
    names = ["images/x/a.jpg", "images/b, c.jpg", " d.jpg", "ü.jpg", "sub/e.jpg"]
    text = (
        'file,material\nx/a.jpg,glass\n"b, c.jpg",paper\n" d.jpg",glass\nü.jpg,paper\n'
        "sub\\e.jpg,glass\n"
    )
    dataset = load_dataset(csv_set(tmp_path, text, *names))
    assert {dataset.shown_path(s) for s in dataset.samples} == set(names)
    assert all(sample.path.is_file() for sample in dataset.samples)


def test_a_csv_of_any_name_given_by_itself(tmp_path: Path) -> None:
    csv_set(tmp_path, HEADER + ROWS, name="mine.csv")
    assert seen(load_dataset(tmp_path / "mine.csv")) == AS_WRITTEN
    with pytest.raises(DatasetError, match="no column 'path'"):
        load_dataset(tmp_path / "a.jpg")


def test_the_first_of_several_csvs_counts(tmp_path: Path) -> None:
    csv_set(tmp_path, HEADER + ROWS, name="index.csv")
    csv_set(tmp_path, HEADER + ROWS.replace("glass", "metal"), name="labels.csv")
    assert seen(load_dataset(tmp_path))[0][1] == "metal"


def test_class_folders(tmp_path: Path) -> None:
    folder_set(tmp_path, "paper/x/b.jpeg", "glass/A.JPG", "glass/notes.txt", "metal/one.Png")
    (tmp_path / "empty").mkdir()
    dataset = load_dataset(tmp_path)
    assert seen(dataset) == [
        ("glass/A.JPG", "glass", None),
        ("metal/one.Png", "metal", None),
        ("paper/x/b.jpeg", "paper", None),
    ]
    assert dataset.tasks[0].classes == ("glass", "metal", "paper")
    assert load_dataset(tmp_path, tasks=["shape"]).tasks[0].name == "shape"


@pytest.mark.parametrize(
    "extra", [(), ("docs/readme.md",), (".git/x.jpg",), ("__MACOSX/g/._a.jpg",)]
)
def test_split_folders(tmp_path: Path, extra: tuple[str, ...]) -> None:
    folder_set(tmp_path, "Train/glass/a.jpg", "validation/paper/b.jpg", "TEST/paper/c.jpg", *extra)
    dataset = load_dataset(tmp_path)
    assert {(label, split) for _, label, split in seen(dataset)} == {
        ("glass", "train"),
        ("paper", "val"),
        ("paper", "test"),
    }
    assert dataset.splits == ("train", "val", "test")


def test_debris_is_passed_over(tmp_path: Path) -> None:
    folder_set(tmp_path, "glass/a.jpg", "glass/._a.jpg", "glass/.ipynb_checkpoints/a.jpg")
    folder_set(tmp_path, "paper/b.jpg", "__MACOSX/c.jpg", ".cache/d.jpg")
    assert len(load_dataset(tmp_path).samples) == 2


def test_images_folder_with_class_folders(tmp_path: Path) -> None:
    folder_set(tmp_path, "images/glass/a.jpg", "images/paper/b.jpg")
    assert [label for _, label, _ in seen(load_dataset(tmp_path))] == ["glass", "paper"]


def test_a_class_called_test_among_classes(tmp_path: Path) -> None:
    folder_set(tmp_path, "test/a.jpg", "glass/b.jpg")
    assert seen(load_dataset(tmp_path)) == [
        ("glass/b.jpg", "glass", None),
        ("test/a.jpg", "test", None),
    ]


UNCLEAR: dict[str, tuple[tuple[str, ...], str]] = {
    "splits beside a class": (
        ("train/glass/a.jpg", "test/paper/b.jpg", "more/c.jpg"),
        "'more' has",
    ),
    "splits without classes": (("train/a.jpg", "test/b.jpg"), "without class folders"),
    "loose photos": (("a.jpg", "b.jpg"), "no photos in class folders"),
    "nothing": ((), "no photos in class folders"),
    "no photos": (("glass/a.txt", "paper/b.txt"), "no photos in class folders"),
}


@pytest.mark.parametrize("form", UNCLEAR)
def test_folders_that_are_no_data_set(form: str, tmp_path: Path) -> None:
    photos, expected = UNCLEAR[form]
    with pytest.raises(DatasetError, match=expected):
        load_dataset(folder_set(tmp_path, *photos))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no such folder or CSV.*beltsight fetch trashnet"):
        load_dataset(tmp_path / "none")


@pytest.mark.parametrize("with_csv", [False, True])
@pytest.mark.parametrize("kind", ["photo", "folder"])
def test_a_link_that_leaves_the_folder_is_refused(
    tmp_path: Path, with_csv: bool, kind: str
) -> None:
    outside = put(tmp_path / "outside/secret.jpg", b"x")
    root = folder_set(tmp_path / "data", "glass/a.jpg", "paper/b.jpg")
    name = "metal/secret.jpg"
    if kind == "folder":
        (root / "metal").symlink_to(outside.parent)
    else:
        (root / "metal").mkdir()
        (root / name).symlink_to(outside)
    if with_csv:
        text = f"path,material\nglass/a.jpg,glass\npaper/b.jpg,paper\n{name},metal\n"
        put(root / "splits.csv", text.encode())
    with pytest.raises(DatasetError, match="reached by a link that leaves"):
        load_dataset(root)


def test_links_inside_the_folder_and_to_the_folder_are_followed(tmp_path: Path) -> None:
    root = folder_set(tmp_path / "data", "glass/a.jpg", "paper/b.jpg")
    (root / "glass/again.jpg").symlink_to(root / "paper/b.jpg")
    (root / "glass/self").symlink_to(root / "glass")
    (root / "glass/dangling.jpg").symlink_to("nowhere")
    (tmp_path / "alias").symlink_to(root)
    assert len(load_dataset(tmp_path / "alias").samples) == 3


def test_a_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    from beltsight.dataset.index import _photos_below

    root = folder_set(tmp_path, "glass/a.jpg", "paper/b.jpg")
    with pytest.raises(DatasetError, match="cannot be listed"):
        list(_photos_below(root / "gone", root))


@pytest.mark.parametrize("below", ["", "images/", "train/"])
def test_a_linked_folder_below_a_class_that_leaves_is_refused(tmp_path: Path, below: str) -> None:
    put(tmp_path / "outside/x/secret.jpg", b"x")
    root = folder_set(tmp_path / "data", f"{below}glass/a.jpg", f"{below}paper/b.jpg")
    (root / f"{below}glass/.cache").symlink_to(tmp_path / "outside/x")  # debris, linked or not
    assert len(load_dataset(root).samples) == 2
    (root / f"{below}glass/batch2").symlink_to(tmp_path / "outside/x")
    with pytest.raises(DatasetError, match=r"batch2 is reached by a link that leaves .*data;"):
        load_dataset(root)


def test_a_linked_folder_that_leaves_images_but_not_the_data_set_is_no_error(
    tmp_path: Path,
) -> None:
    root = folder_set(tmp_path / "data", "images/glass/a.jpg", "images/paper/b.jpg")
    put(root / ".more/c.jpg", b"x")
    (root / "images/glass/more").symlink_to(root / ".more")
    assert len(load_dataset(root).samples) == 2


def test_columns_that_are_not_read_are_listed(tmp_path: Path) -> None:
    text = "path,Material,colour,mask,Split,,note\na.jpg,glass,red,,train,,x\n"
    text += "b.jpg,paper,blue,,train,,y\n"
    root = csv_set(tmp_path, text)
    assert load_dataset(root).unread == ("colour", "note")
    assert load_dataset(root, tasks=["colour"]).unread == ("Material", "note")
    assert load_dataset(folder_set(tmp_path / "x", "glass/a.jpg", "paper/b.jpg")).unread == ()


def test_select_and_task(tmp_path: Path) -> None:
    dataset = load_dataset(csv_set(tmp_path, HEADER + ROWS))
    assert seen(dataset.select("test")) == AS_WRITTEN[1:]
    assert dataset.select("all") is dataset
    with pytest.raises(SplitError, match="no photo is in split 'val'; it has train, test"):
        dataset.select("val")
    with pytest.raises(DatasetError, match="no labels for task 'contamination'; it has material"):
        dataset.task("contamination")


def test_shown_path_of_a_photo_elsewhere(tmp_path: Path) -> None:
    dataset = load_dataset(csv_set(tmp_path, HEADER + ROWS))
    other = load_dataset(csv_set(tmp_path / "x", HEADER + ROWS)).samples[0]
    assert dataset.shown_path(other) == "x/a.jpg"
    away = Dataset(tmp_path / "x", dataset.tasks, dataset.samples)
    assert away.shown_path(dataset.samples[0]) == (tmp_path / "a.jpg").as_posix()


@pytest.mark.parametrize("seed", range(60))
def test_mutated_csvs_give_a_data_set_or_our_own_error(seed: int, tmp_path: Path) -> None:
    import random

    rng = random.Random(seed)
    text = bytearray((HEADER + ROWS + "c.jpg,metal,val\n").encode())
    for _ in range(rng.randrange(1, 12)):
        place = rng.randrange(len(text))
        action = rng.randrange(3)
        if action == 0:
            text[place] = rng.randrange(256)
        elif action == 1:
            del text[place]
        else:
            text[place:place] = rng.choice([b",", b'"', b"\n", b";", b"\0", b"\xff", b"../"])
    csv_set(tmp_path, bytes(text), "a.jpg", "b.jpg", "c.jpg")
    try:
        dataset = load_dataset(tmp_path)
    except BeltsightError as error:
        assert str(error)
    else:
        inside = os.path.realpath(tmp_path) + os.sep
        assert all(os.path.realpath(s.path).startswith(inside) for s in dataset.samples)


def test_trashnet_is_read_with_its_published_splits(trashnet: Path) -> None:
    dataset = load_dataset(trashnet)
    sizes = {split: len(dataset.select(split).samples) for split in dataset.splits}
    assert sizes == {"train": 1768, "val": 328, "test": 431}
    assert all(sample.path.is_file() for sample in dataset.samples)
    assert len(load_dataset(trashnet / "images").samples) == 2527
