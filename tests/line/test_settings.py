"""What a line's file may not say: refused before anything is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from beltsight.config import ASSETS
from beltsight.errors import ConfigError, PolicyError
from beltsight.line.assemble import open_decider
from beltsight.line.settings import DEFAULT_LINE, load_line
from beltsight.model import DEFAULT_MODEL, Model

NUMBERS = {"paper": 1, "plastic": 2, "glass": 3, "metal": 4}
MODBUS = {"links": [{"kind": "modbus", "name": "plc", "actuators": NUMBERS}]}
LANES = {"name": "jets", "routes": ["paper"], "distance_mm": 600,
         "lanes": [[8 * lane, 8 * lane + 8] for lane in range(70)]}  # fmt: skip

BY_HOST = {"name": "paper", "routes": ["paper"], "distance_mm": 600, "timing": "host",
           "lanes": [[0, 400]]}  # fmt: skip


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({**MODBUS, "belt.counter_bits": 0}, "counters of 1 to 32 bits, belt.counter_bits is 0"),
        ({**MODBUS, "belt.counter_bits": 64}, "counters of 1 to 32 bits, belt.counter_bits is 64"),
        ({"links": [{"kind": "modbus", "name": "plc"}]}, "has no number for it"),
        ({**MODBUS, "schedule.actuators": [LANES]}, "70 lanes, the link carries 32"),
        (
            {"links": [{"kind": "opcua-server", "name": "plc"}], "schedule.actuators": [LANES]},
            "70 lanes, the link carries 64",
        ),
        (
            {"links": [{"kind": "mqtt-sparkplug", "name": "plc"}], "schedule.actuators": [LANES]},
            "70 lanes, the link carries 64",
        ),
        (
            {**MODBUS, "belt.counter_bits": 64, "schedule.actuators": [BY_HOST]},
            "counters of 1 to 32 bits, belt.counter_bits is 64",
        ),
        (
            {
                "links": [
                    {"kind": "simulated", "name": "plc"},
                    {"kind": "modbus", "name": "spare"},
                ],
                "belt.counter_bits": 64,
            },
            r"link 'spare' \(modbus\): its registers hold counters of 1 to 32 bits",
        ),
        ({"belt.counter_bits": 14}, "comes round every 1,638 mm, too soon for 600 mm"),
    ],
)
def test_what_a_link_cannot_carry_is_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_line(DEFAULT_LINE, values)


def test_what_it_can_carry_is_taken() -> None:
    assert load_line(DEFAULT_LINE, {**MODBUS, "belt.counter_bits": 16}).belt.counter_bits == 16


def test_a_rule_may_name_a_material_of_the_plants_own_taxonomy(tmp_path: Path) -> None:
    policy = (ASSETS / "policy.toml").read_text(encoding="utf-8")
    first = policy.index("[[rules]]")
    rule = '[[rules]]\nmaterial = "driftwood"\nroute = "residual"\n\n'
    (tmp_path / "policy.toml").write_text(policy[:first] + rule + policy[first:])
    taxonomy = (ASSETS / "taxonomy.toml").read_text(encoding="utf-8")
    listed = "[tasks.material.classes]\n"
    own = listed + 'driftwood = { name = "Driftwood", colour = "#886644" }\n'
    (tmp_path / "taxonomy.toml").write_text(taxonomy.replace(listed, own))
    (tmp_path / "line.toml").write_text(DEFAULT_LINE.read_text(encoding="utf-8"))
    model = Model.load(DEFAULT_MODEL, threads=1)
    settings = load_line(tmp_path / "line.toml")
    with pytest.raises(PolicyError, match="'driftwood', which neither the taxonomy nor the model"):
        open_decider(settings, model)
    settings = load_line(tmp_path / "line.toml", {"taxonomy": "taxonomy.toml"})
    assert "residual" in open_decider(settings, model).routes
    with pytest.raises(ConfigError, match=r"the taxonomy .*none.toml is not there"):
        load_line(tmp_path / "line.toml", {"taxonomy": "none.toml"})
