"""``beltsight tune``"""

from __future__ import annotations

from typing import Annotated

import typer

from beltsight.cli.model_argument import ModelArgument, ThreadsOption, open_model


def command(
    model: ModelArgument,
    threads: ThreadsOption = 0,
    bfloat16: Annotated[
        bool,
        typer.Option(
            "--bfloat16",
            help="Also engines that round to bfloat16 (or TF32): probabilities change a little.",
        ),
    ] = False,
    seconds: Annotated[
        float, typer.Option(min=0.01, max=60.0, help="Length of each of a trial's three rounds.")
    ] = 1.0,
    forget: Annotated[
        bool, typer.Option("--forget", help="Remove the stored choice; nothing is measured.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the choice as JSON.")] = False,
) -> None:
    """Find the fastest engine for a model on this machine, and store the choice.

    From then on every command uses it for this file with this number of threads, until a
    library or the machine changes. Other engines: the extra 'openvino', or a GPU.
    """
    from beltsight.cli.console import note, print_json, print_line
    from beltsight.engines import DEFAULT_ENGINE
    from beltsight.tune import Trial, packaged_photos, tune
    from beltsight.tuned import forget_tuning, save_tuning

    # Not by the stored choice, which may be what no longer works.
    loaded = open_model(model, engine=DEFAULT_ENGINE, verify=False)
    if forget:
        removed = forget_tuning(loaded.hash)
        note(f"beltsight: stored choices removed: {removed}")
        if json:
            print_json({"removed": removed})
        return

    def shown(trial: Trial) -> None:
        done = trial.refused or f"{trial.photos_per_s:8.1f} photos/s"
        batch = "" if trial.refused else f"  {trial.purpose:<10}  batch {trial.batch_size:>2}"
        (note if json else print_line)(f"{trial.engine:<18}{batch}  {done}")

    photos = packaged_photos(loaded)
    found = tune(loaded, photos, threads=threads, bfloat16=bfloat16, seconds=seconds, watch=shown)
    if json:
        print_json(found.model_dump(mode="json"))
    else:
        print_line(
            f"one photo: {found.latency.engine}, {1000 / found.latency.photos_per_s:.1f} ms; "
            f"many: {found.throughput.engine}, batches of {found.throughput.batch_size}, "
            f"{found.throughput.photos_per_s:.0f} photos/s ({found.threads} threads)"
        )
    # Last: where the choice cannot be stored, what was measured is not lost.
    note(f"beltsight: wrote {save_tuning(found)}")
