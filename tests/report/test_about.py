"""A card in words."""

from __future__ import annotations

from tests.tiny import tiny_card

from beltsight.card import ParityCard, QuantizationCard
from beltsight.report.about import card_facts

PARITY = ParityCard(
    n=328, changed=1, agreement=327 / 328, agreement_interval=(0.98, 1.0), float_accuracy=0.948,
    accuracy=0.945, lost=1, gained=0, accuracy_change=-0.003,
    accuracy_change_interval=(-0.01, 0.003), probability_change=0.2,
)  # fmt: skip
QUANTIZATION = QuantizationCard(
    weight_bits=7, float_layers=("stem", "first"), float_sha256="00", data="trashnet",
    calibration_split="train", n_calibration=64, seed=0, split="val", tried=2,
    parity={"material": PARITY},
)  # fmt: skip


def test_an_int8_model_says_so_and_what_it_changed() -> None:
    facts = dict(card_facts(tiny_card().model_copy(update={"quantization": QUANTIZATION})))
    assert facts["Numbers"].endswith("weights of 7 bits; float: stem, first")
    assert facts["Ranges fitted to"] == "64 photos of split train"
    assert facts["Kept labels of material"] == (
        "99.7 % of 328 photos of the validation split; accuracy 94.8 % in float, 94.5 % in int8"
    )
    bare = QUANTIZATION.model_copy(update={"float_layers": ()})
    facts = dict(card_facts(tiny_card().model_copy(update={"quantization": bare})))
    assert facts["Numbers"].endswith("float: none beside the heads")


def test_a_float_model_says_nothing_of_it() -> None:
    assert not {"Numbers", "Ranges fitted to"} & dict(card_facts(tiny_card())).keys()
