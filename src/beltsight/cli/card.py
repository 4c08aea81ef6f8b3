"""``beltsight card``"""

from __future__ import annotations

from typing import Annotated

import typer

from beltsight.cli.model_argument import ModelArgument, open_model


def command(
    model: ModelArgument,
    json: Annotated[
        bool, typer.Option("--json", help="Print the whole card as it is in the file.")
    ] = False,
) -> None:
    """Show what a model file says of itself."""
    from beltsight.cli.console import print_json, print_line
    from beltsight.report.about import card_facts

    # A card must be readable where the model itself would be refused, to see why.
    loaded = open_model(model, verify=False)
    if json:
        print_json(loaded.card.model_dump(mode="json"))
        return
    size = f"{loaded.path.stat().st_size / 1e6:.1f} MB" if loaded.path else "unknown"
    facts = [*card_facts(loaded.card), ("File", f"{loaded.path}, {size}"), ("SHA-256", loaded.hash)]
    width = max(len(what) for what, _ in facts)
    for what, value in facts:
        print_line(f"{what:<{width}}  {value}")
