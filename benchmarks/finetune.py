"""Photos per second of fine-tuning all of ResNet-18, against a plain PyTorch script.

    python benchmarks/finetune.py [--assert] [--out FILE]

Both train at 224 px in batches of 32, in bfloat16 where the processor has it, with channels last
and two threads, on the same TrashNet photos with the same kinds of augmentation. The peer is what
research scripts do: torchvision's ImageFolder and transforms in the training process. They run in
turn, each in a process of its own; the ratio is of the medians. Start-up, warm-up and validation
are left out.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from torchvision import datasets
from torchvision.transforms import v2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.outcome import Check, conditions, finish, options, trashnet

import beltsight
from beltsight.train.loop import BatchDone, Event
from beltsight.train.run import run_training
from beltsight.train.settings import TrainSettings

FLOOR = 1.3
BATCH, SIZE, THREADS = 32, 224, 2
WARM_UP = 4


class EnoughSeenError(Exception):
    """Ends a run once the steps to be timed are over."""


def our_photos_per_second(data: Path, steps: int) -> float:
    """Steps of ``beltsight train`` after warm-up."""
    settings = TrainSettings(
        backbone="resnet18", weights="random", image_size=SIZE, batch_size=BATCH, threads=THREADS,
        stages=({"learn": "all", "epochs": 1, "learning_rate": 1e-3},),
    )  # fmt: skip
    dataset = beltsight.load_dataset(data)
    times: list[float] = []

    def watch(event: Event) -> None:
        if isinstance(event, BatchDone):
            times.append(time.perf_counter())
            if len(times) == WARM_UP + steps + 1:
                raise EnoughSeenError

    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(EnoughSeenError):
        run_training(dataset, Path(folder) / "run", settings, watch=watch)
    return steps * BATCH / (times[-1] - times[-1 - steps])


def plain_batches(data: Path) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Decoded and augmented in this process, as a plain script does."""
    transform = v2.Compose(
        [
            v2.PILToTensor(),
            v2.Resize((SIZE, SIZE), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.RandomAffine(
                degrees=180, translate=(0.08, 0.08), scale=(0.75, 1.25), shear=10,
                interpolation=v2.InterpolationMode.BILINEAR,
            ),
            v2.ColorJitter(0.35, 0.35, 0.35, 0.03),
            v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.5))], p=0.15),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            v2.RandomErasing(p=0.25, scale=(0.02, 0.12)),
        ]
    )  # fmt: skip
    folder = datasets.ImageFolder(str(data / "images"), transform)
    loader = torch.utils.data.DataLoader(folder, BATCH, shuffle=True, num_workers=0)
    while True:
        yield from loader


def plain_photos_per_second(data: Path, steps: int) -> float:
    """Steps of a plain loop after warm-up."""
    torch.set_num_threads(THREADS)
    bfloat16 = bool(torch.cpu._is_avx512_bf16_supported())
    network = timm.create_model("resnet18", num_classes=6).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    start = 0.0
    for step, (photos, labels) in enumerate(plain_batches(data)):
        if step == WARM_UP:
            start = time.perf_counter()
        if step == WARM_UP + steps:
            break
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            scores = network(photos.to(memory_format=torch.channels_last))
        loss = torch.nn.functional.cross_entropy(scores.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return steps * BATCH / (time.perf_counter() - start)


def apart(side: str, data: Path, steps: int) -> float:
    """A figure from a process of its own: what one sets up does not serve the other."""
    command = [sys.executable, __file__, "--side", side, "--steps", str(steps)]
    environment = {**os.environ, "BELTSIGHT_DATA": str(data.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout)


def measure(data: Path, rounds: int, steps: int) -> dict[str, Any]:
    bfloat16 = bool(torch.cpu._is_avx512_bf16_supported())
    ours, plain = [], []
    for _ in range(rounds):
        plain.append(apart("plain", data, steps))
        ours.append(apart("ours", data, steps))
        print(f"plain {plain[-1]:.1f}  ours {ours[-1]:.1f} photos/s", flush=True)
    return {
        "what": "fine-tuning all of ResNet-18, 224 px, batches of 32, photos per second",
        "ours_median": round(statistics.median(ours), 1),
        "ours": [round(each, 1) for each in ours],
        "plain_median": round(statistics.median(plain), 1),
        "plain": [round(each, 1) for each in plain],
        "ratio": round(statistics.median(ours) / statistics.median(plain), 2),
        "steps": steps,
        "precision": "bfloat16" if bfloat16 else "float32",
        "threads": THREADS,
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--side", choices=["ours", "plain"], help="print one side's figure only")
    given = parser.parse_args()
    data = trashnet()
    if given.side:
        work = our_photos_per_second if given.side == "ours" else plain_photos_per_second
        print(work(data, given.steps))
        return
    machine = conditions(given)
    result = measure(data, given.rounds, given.steps)
    check = Check("fine-tuning, times as fast as a plain script", result["ratio"], least=FLOOR)
    finish({**result, "machine": machine}, [check], given)


if __name__ == "__main__":
    main()
