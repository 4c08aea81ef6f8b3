"""Fetch a public data set from its authors' address into the form that Beltsight reads.

A transfer goes to a ``.part`` file and goes on from there when it is run again. What is unpacked is
compared, photo by photo, with the content that this project's figures were measured on.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
import stat
import tomllib
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from beltsight.config import ASSETS
from beltsight.dataset.scan import Progress
from beltsight.errors import FetchError
from beltsight.files import whole

_CHUNK_BYTES = 1 << 18
_TIMEOUT_S = 30.0
_ATTEMPTS = 3
_MAX_PHOTO_BYTES = 2_000_000
_MAX_MEMBERS = 20_000


@dataclass(frozen=True, slots=True)
class PublicDataset:
    """A data set that ``beltsight fetch`` knows.

    Args:
        name: as on the command line.
        addresses: of one zip archive; tried in order.
        classes: folders of the archive, which hold ``CLASS/CLASSn.jpg``.
        n_photos: photos in it.
        content_sha256: of the lines ``CLASS/CLASSn.jpg SHA256``, sorted, one per photo.
        splits: numbers of the photos per split and class; all others are ``train``.
        max_bytes: of the archive, and of all it unpacks to.
        licence: as the authors state it.
    """

    name: str
    addresses: tuple[str, ...]
    classes: tuple[str, ...]
    n_photos: int
    content_sha256: str
    splits: Mapping[str, Mapping[str, Sequence[int]]]
    max_bytes: int
    licence: str


def trashnet() -> PublicDataset:
    """TrashNet, with the splits that its authors published.

    Not the archive is pinned but its content: what matters is that each photo is the very one
    that this project's figures were measured on, and that can be said of an archive from either
    address, packed anew or fetched by hand.
    """
    return PublicDataset(
        name="trashnet",
        addresses=(
            "https://github.com/garythung/trashnet/raw/master/data/dataset-resized.zip",
            "https://huggingface.co/datasets/garythung/trashnet/resolve/main/dataset-resized.zip",
        ),
        classes=("cardboard", "glass", "metal", "paper", "plastic", "trash"),
        n_photos=2527,
        content_sha256="500621cb43942c2ca8065cc6fea1acad9a020fc773e524146816ab2aef8eaed9",
        splits=tomllib.loads((ASSETS / "trashnet-splits.toml").read_text(encoding="utf-8")),
        max_bytes=200_000_000,
        licence="MIT (Yang & Thung 2016)",
    )


def fetch(
    source: PublicDataset,
    to: Path,
    *,
    archive: Path | None = None,
    progress: Progress | None = None,
) -> bool:
    """Make ``to/images/CLASS/*.jpg`` and ``to/splits.csv``; a ``splits.csv`` that is there stays.

    Args:
        source: what to fetch.
        to: folder to fill; made where it is missing.
        archive: a zip downloaded by hand; nothing is transferred then.
        progress: called with (what is done, bytes or photos done, in all).

    Returns:
        True; False where the data set lay there already, complete and as it must be.

    Raises:
        FetchError: no address answers, a transfer broke off, or the content is not what it
            must be. The message says what to do by hand.
    """
    images = to / "images"
    try:
        if images.is_dir():
            _check_content(source, images, f"{to} holds another data set; give another --to")
            _write_csv(source, to)
            return False
        to.mkdir(parents=True, exist_ok=True)
        zipped = archive or _download_any(source, to, progress)
        draft = to / ".unpacking"
        shutil.rmtree(draft, ignore_errors=True)
        try:
            unpack(source, zipped, draft, progress=progress)
            where = f"{zipped} is not {source.name} as this version knows it"
            _check_content(source, draft, where)
            draft.replace(images)
        except FetchError:
            if archive is None:
                zipped.unlink(missing_ok=True)
            raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        _write_csv(source, to)
        if archive is None:
            zipped.unlink(missing_ok=True)
    except OSError as error:
        raise FetchError(f"{to}: cannot be written: {error.strerror or error}") from error
    return True


def download(address: str, to: Path, *, max_bytes: int, progress: Progress | None = None) -> None:
    """Transfer one file over HTTP; go on from ``to.part`` where that is there.

    Args:
        address: ``https://`` or ``http://``.
        to: the file; it appears when it is whole.
        max_bytes: the largest file to accept.
        progress: called with ("Downloading", bytes done, bytes in all or 0).

    Raises:
        FetchError: another scheme, no answer, a file that is too large, or a transfer that
            broke off; what has come stays in ``to.part``.
    """
    if not address.startswith(("https://", "http://")):
        raise FetchError(f"{address}: expected an address that begins with https://")
    part = to.with_name(f"{to.name}.part")
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(  # noqa: S310 - the scheme is checked above
        address, headers={"User-Agent": "beltsight", "Accept-Encoding": "identity"}
    )
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with _OPENER.open(request, timeout=_TIMEOUT_S) as answer:
            begin, total = _extent(answer, have)
            _receive(answer, part, begin, total, max_bytes, address, progress)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            # What is there is not the beginning of this file: begin again.
            part.unlink()
            return download(address, to, max_bytes=max_bytes, progress=progress)
        raise FetchError(f"{address}: the server says {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise FetchError(f"{address}: {reason}") from error
    part.replace(to)
    return None


def unpack(
    source: PublicDataset, archive: Path, to: Path, *, progress: Progress | None = None
) -> None:
    """Unpack the photos of an archive as ``to/CLASS/CLASSn.jpg``; nothing else is written.

    Raises:
        FetchError: not a zip, damaged, or one that a stranger made: paths that leave the
            folder, links, too many or too large members.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = _photos_in(source, zipped)
            for done, (target, member) in enumerate(members.items(), 1):
                with zipped.open(member) as packed:
                    # The declared size may lie; reading one byte more shows it.
                    content = packed.read(_MAX_PHOTO_BYTES + 1)
                if len(content) > _MAX_PHOTO_BYTES:
                    raise FetchError(f"{archive}: {target} is over {_MAX_PHOTO_BYTES:,} bytes")
                path = to / target
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                if progress is not None:
                    progress("Unpacking", done, len(members))
    except FileNotFoundError as error:
        raise FetchError(f"{archive}: no such file") from error
    except (
        zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError,
        ValueError, zlib.error,
    ) as error:  # fmt: skip
        raise FetchError(f"{archive}: not a sound zip archive ({error})") from error


def content_digest(images: Path) -> str:
    """SHA-256 over the lines ``CLASS/NAME SHA256`` of all photos, sorted by name."""
    names = sorted(path.relative_to(images).as_posix() for path in _photos(images))
    digest = hashlib.sha256()
    for name in names:
        with (images / name).open("rb") as file:
            digest.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


class _SameSchemes(urllib.request.HTTPRedirectHandler):
    """Follow a redirect only to http(s), and never from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:  # fmt: skip
        allowed = ("https://",) if req.full_url.startswith("https:") else ("https://", "http://")
        if not newurl.startswith(allowed):
            raise FetchError(f"{req.full_url}: refused to follow its redirect to {newurl:.100}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _http_opener() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS only: no file:, no ftp:, by whatever way an address comes in."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPErrorProcessor, _SameSchemes,
    ):  # fmt: skip
        opener.add_handler(handler())
    return opener


def _download_any(source: PublicDataset, to: Path, progress: Progress | None) -> Path:
    """The archive from the first address that gives one."""
    archive = to / f"{source.name}.zip"
    if archive.exists():  # whole, but not yet unpacked: an earlier run was interrupted
        return archive
    reasons = []
    for address in source.addresses:
        for _ in range(_ATTEMPTS):
            before = _size_of_part(archive)
            try:
                download(address, archive, max_bytes=source.max_bytes, progress=progress)
            except FetchError as error:
                reasons.append(str(error))
                if _size_of_part(archive) > before:
                    continue  # it got on: a broken transfer, worth another try
                break
            if zipfile.is_zipfile(archive):
                return archive
            # A server out of quota answers with a page or a pointer file, and says 200.
            archive.unlink()
            reasons.append(f"{address}: the answer is not a zip archive")
            break
    raise FetchError(
        "; ".join(dict.fromkeys(reasons)) + f". Without a network: open {source.addresses[0]} in a "
        f"browser on another machine, copy the zip here, and run: beltsight fetch {source.name} "
        f"--to {to} --from FILE.zip. What has come is kept; the same command goes on from there"
    )


def _size_of_part(archive: Path) -> int:
    part = archive.with_name(f"{archive.name}.part")
    return part.stat().st_size if part.exists() else 0


def _extent(answer: Any, have: int) -> tuple[int, int | None]:
    """Where the answer's first byte belongs, and how large the whole file is."""
    if answer.status == http.client.PARTIAL_CONTENT:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if not match or int(match[1]) != have:
            raise ValueError("the server answered with another part of the file than asked for")
        return have, None if match[2] == "*" else int(match[2])
    length = answer.headers.get("Content-Length")
    return 0, int(length) if length and length.isdigit() else None


def _receive(
    answer: Any, part: Path, begin: int, total: int | None, max_bytes: int, address: str,
    progress: Progress | None,
) -> None:  # fmt: skip
    too_large = FetchError(f"{address}: over {max_bytes:,} bytes; not the file it should be")
    if total is not None and total > max_bytes:
        raise too_large
    done = begin
    with part.open("ab" if begin else "wb") as file:
        while chunk := answer.read(_CHUNK_BYTES):
            done += len(chunk)
            if done > max_bytes:
                raise too_large
            file.write(chunk)
            if progress is not None:
                progress("Downloading", done, total or 0)
    if total is not None and done < total:
        raise FetchError(f"{address}: broke off after {done:,} of {total:,} bytes; run it again")


def _photos_in(source: PublicDataset, zipped: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Members to unpack by the path they get; names of strangers never become paths."""
    members = zipped.infolist()
    name = zipped.filename
    if len(members) > _MAX_MEMBERS or sum(m.file_size for m in members) > source.max_bytes:
        raise FetchError(f"{name}: unpacks to more than {source.name} is; refused")
    pattern = re.compile(rf"(?:[\w.-]+/)*?(({'|'.join(source.classes)})/\2[1-9]\d*\.jpg)", re.ASCII)
    photos: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        parts = member.filename.replace("\\", "/").split("/")
        if member.filename.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
            raise FetchError(f"{name}: member {member.filename!r:.80} leaves the folder; refused")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FetchError(f"{name}: packed by an uncommon method; refused")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise FetchError(f"{name}: member {member.filename!r:.80} is a link; refused")
        match = pattern.fullmatch(member.filename)
        if match and parts[0] != "__MACOSX":
            if match[1] in photos:
                raise FetchError(f"{name}: holds {match[1]} twice; refused")
            photos[match[1]] = member
    if not photos:
        raise FetchError(f"{name}: no photos CLASS/CLASSn.jpg in it; not {source.name}")
    return photos


def _check_content(source: PublicDataset, images: Path, problem: str) -> None:
    """Refuse photos other than those that all figures of this project are measured on."""
    digest = content_digest(images)
    if digest != source.content_sha256:
        count = len(_photos(images))
        raise FetchError(
            f"{problem}: {count:,} photos with content {digest[:12]}, expected "
            f"{source.n_photos:,} with {source.content_sha256[:12]}"
        )


def _write_csv(source: PublicDataset, to: Path) -> None:
    """``splits.csv`` with the columns file, material and split, where there is none."""
    target = to / "splits.csv"
    if target.exists():
        return
    split_of = {
        f"{name}/{name}{number}.jpg": split
        for split, classes in source.splits.items()
        for name, numbers in classes.items()
        for number in numbers
    }
    names = sorted(path.relative_to(to / "images").as_posix() for path in _photos(to / "images"))
    lines = ["file,material,split"]
    lines += [f"{name},{name.split('/')[0]},{split_of.get(name, 'train')}" for name in names]
    with whole(target) as draft:
        # CSV's own line ends, as in the file that the project's figures were measured with.
        draft.write_bytes("".join(f"{line}\r\n" for line in lines).encode())


def _photos(images: Path) -> list[Path]:
    return list(images.glob("*/*.jpg"))


_OPENER = _http_opener()
