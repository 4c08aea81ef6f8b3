"""What a simulated line saw of each item, as a data set: photos become what a belt's camera shows.

A network that learned from photos alone sees on a belt what it has never seen: small, blurred and
noisy items on rubber, cut close. Trained on the photos and these crops together it knows both.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from beltsight.dataset.index import Dataset
from beltsight.dataset.soil_folder import LABELS_FILE, write_file, write_labels
from beltsight.errors import DatasetError
from beltsight.jpeg import encode_jpeg
from beltsight.line.simulate.score import Matched
from beltsight.records import CONTAMINATION, DIRT, MATERIAL, NO_DIRT, Photo, Sample
from beltsight.scene import LEVELS

_QUALITY = 95
_COLUMNS = ("group", "split", "source", "share")


class CropBook:
    """Keeps what the model was shown of each item, until it is known which item it was.

    Args:
        out: folder of the data set that is to come; new or empty.
        dataset: the photos that items are cut from.

    Raises:
        DatasetError: the folder holds something.
    """

    def __init__(self, out: Path, dataset: Dataset) -> None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise DatasetError(f"{out} is not an empty folder; choose another")
        self._out, self._dataset = out, dataset
        self._sources = {str(sample.path): sample for sample in dataset.samples}
        self._crops: dict[int, bytes] = {}

    def keep(self, item_id: int, crop: Photo) -> None:
        """What was seen of an item, by the line's own number of it; called by any thread.

        Raises:
            ImageError: it cannot be written as JPEG.
        """
        self._crops[item_id] = encode_jpeg(crop, _QUALITY)

    def write(self, matched: Iterable[Matched]) -> int:
        """Write the crops of items that lay alone and were counted once; how many.

        Each gets the classes of its true item, simulated dirt included, and group and split of the
        photo that it was cut from: no photo is learned from in one split and asked in another.

        Raises:
            DatasetError: it cannot be written.
        """
        rows = []
        for one in matched:
            if one.item.touching or len(one.counted) != 1:
                continue
            content = self._crops.get(one.counted[0].item_id)
            if content is None:
                continue
            row = self._row(one)
            write_file(self._out / str(row["path"]), content)
            rows.append(row)
        tasks = dict.fromkeys([MATERIAL, CONTAMINATION, DIRT, *(t for r in rows for t in r)])
        for own in ("path", *_COLUMNS):
            tasks.pop(own, None)
        write_labels(self._out, ["path", *tasks, *_COLUMNS], rows)
        return len(rows)

    @property
    def labels_file(self) -> Path:
        """The table of the data set."""
        return self._out / LABELS_FILE

    def _row(self, one: Matched) -> dict[str, Any]:
        item = one.item
        labels = dict(item.labels)
        if labels.get(CONTAMINATION) == LEVELS[0]:
            labels.setdefault(DIRT, NO_DIRT)
        sample = self._sources[item.source]
        source = self._name(sample)
        return {
            **labels,
            "path": f"crops/{item.item_id:06d}.jpg",
            "group": sample.group or source,
            "split": sample.split or "",
            "source": source,
            "share": round(item.dirt_share, 6) or "",
        }

    def _name(self, sample: Sample) -> str:
        root = self._dataset.root
        inside = sample.path.is_relative_to(root)
        return (sample.path.relative_to(root) if inside else sample.path).as_posix()
