"""``beltsight fetch``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(help="The data set: trashnet.")],
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to put it (default: ./NAME).")
    ] = None,
    archive: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="A zip downloaded by hand; needs no network."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Download a public data set and verify its photos.

    It comes from its authors' address; an interrupted download is resumed.
    """
    from beltsight.cli.console import print_json, print_line
    from beltsight.cli.stage_progress import stage_progress
    from beltsight.config import nearest
    from beltsight.dataset.fetch import fetch, trashnet

    known = {"trashnet": trashnet}
    if name not in known:
        raise typer.BadParameter(f"no data set {name!r}; {nearest(name, known)}")
    source = known[name]()
    folder = to or Path(name)
    with stage_progress() as progress:
        fetched = fetch(source, folder, archive=archive, progress=progress)
    if json:
        print_json(
            {
                "name": name,
                "path": str(folder),
                "fetched": fetched,
                "n_photos": source.n_photos,
                "licence": source.licence,
                "content_sha256": source.content_sha256,
            }
        )
        return
    done = "fetched and verified" if fetched else "is there already, and complete"
    print_line(f"{folder}: {source.n_photos:,} photos, {done}. Licence: {source.licence}")
