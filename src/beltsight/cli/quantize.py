"""``beltsight quantize``"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beltsight.cli.dataset_options import TaskOption, TaxonomyOption
from beltsight.cli.model_argument import ModelArgument, ThreadsOption, open_model

if TYPE_CHECKING:
    from beltsight.quantization import Quantization


class Deciding(StrEnum):
    """Photos that may decide: a test split must not."""

    VAL = "val"
    ALL = "all"


class Fitted(StrEnum):
    """Photos that ranges may be fitted to."""

    TRAIN = "train"
    VAL = "val"
    ALL = "all"


class Bits(IntEnum):
    """Of a weight."""

    SEVEN = 7
    EIGHT = 8


DataArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="Labelled photos like those that the model will meet.",
        show_default=False,
    ),
]
SplitOption = Annotated[
    Deciding, typer.Option(help="Photos that decide; the model must not have learned them.")
]
FittedOption = Annotated[
    Fitted | None,
    typer.Option(
        help="Photos that ranges are fitted to (default: train where DATA has it, else those of "
        "--split).",
        show_default=False,
    ),
]
PhotosOption = Annotated[
    int, typer.Option(min=1, max=10_000, help="How many to fit to, of each class alike.")
]
KeepOption = Annotated[
    list[str] | None,
    typer.Option(metavar="LAYER", help="A layer that stays float; may be given again."),
]
KeepCountOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="How many further layers stay float, the most harmful first (default: as few as it "
        "takes).",
        show_default=False,
    ),
]
BitsOption = Annotated[
    Bits, typer.Option(help="7 is safe everywhere; 8 needs a processor with VNNI.")
]
AgreementOption = Annotated[
    float, typer.Option(min=0, max=1, help="Share of labels that must stay.")
]
DropOption = Annotated[
    float, typer.Option(min=0, max=1, help="By how much accuracy may fall; 0.005: half a point.")
]
ChangeOption = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="By how much any probability may change (default: any)."),
]


def command(
    model: ModelArgument,
    data: DataArgument,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The model file to write.")],
    split: SplitOption = Deciding.VAL,
    calibrate_on: FittedOption = None,
    photos: PhotosOption = 64,
    seed: Annotated[int, typer.Option(min=0, help="Which photos of a class.")] = 0,
    keep: KeepOption = None,
    keep_count: KeepCountOption = None,
    weight_bits: BitsOption = Bits.SEVEN,
    min_agreement: AgreementOption = 0.985,
    max_accuracy_drop: DropOption = 0.005,
    max_probability_change: ChangeOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
    task: TaskOption = None,
    taxonomy: TaxonomyOption = None,
    threads: ThreadsOption = 0,
) -> None:
    """Write an int8 form of a model: a quarter of the size, several times as fast.

    Its answers are compared with the float model's, photo by photo; where they change more than
    the bounds allow, layers are kept in float, and where that does not help nothing is written.
    Needs the extra 'lab'.
    """
    from beltsight.cli.console import note, print_json
    from beltsight.cli.stage_progress import stage_progress
    from beltsight.dataset import load_dataset
    from beltsight.engines import DEFAULT_ENGINE
    from beltsight.quantization import Bounds, QuantizeSettings, quantize
    from beltsight.taxonomy import load_taxonomy

    settings = QuantizeSettings(
        split=split.value,
        calibration_split=calibrate_on.value if calibrate_on else None,
        n_calibration=photos,
        seed=seed,
        weight_bits=7 if weight_bits is Bits.SEVEN else 8,
        keep=tuple(keep or ()),
        keep_count=keep_count,
        bounds=Bounds(min_agreement, max_accuracy_drop, max_probability_change),
        threads=threads,
    )
    dataset = load_dataset(data, tasks=task or (), taxonomy=load_taxonomy(taxonomy))
    loaded = open_model(model, threads=threads, engine=DEFAULT_ENGINE)
    with stage_progress() as progress:
        done = quantize(loaded, dataset, out, settings, progress)
    if json:
        print_json(done.to_record())
    else:
        _print_summary(done)
    note(f"beltsight: wrote {out}")


def _print_summary(done: Quantization) -> None:
    from beltsight.cli.console import print_line, print_table
    from beltsight.report.render import percent

    part = done.card.quantization
    assert part is not None
    rows = []
    for name, found in part.parity.items():
        low, high = found.accuracy_change_interval
        rows.append(
            [
                name,
                f"{percent(found.agreement)} ({found.changed} of {found.n} differ)",
                f"{percent(found.float_accuracy)}, now {percent(found.accuracy)}",
                f"{100 * found.accuracy_change:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})",
                f"{found.probability_change:.3f}",
            ]
        )
    columns = ("task", "labels that stay", "accuracy", "change in points, 95 %", "probability")
    print_table(f"int8 against float, split {part.split}", columns, rows)
    kept = ", ".join(part.float_layers) or "none"
    print_line(
        f"{done.layers - len(part.float_layers)} of {done.layers} layers are int8, weights of "
        f"{part.weight_bits} bits, fitted to {part.n_calibration} photos; in float beside the "
        f"heads: {kept}; {done.out.stat().st_size / 1e6:.1f} MB"
    )
