"""A whole line in a process of its own, so that a test can kill it: FOLDER MODBUS_PORT."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.line.whole import WholeLine, draw_belt, settings_in, wait


def main(folder: Path, port: int) -> None:
    link = {"kind": "modbus", "port": port, "actuators": ACTUATORS}
    line = WholeLine(settings_in(folder, link, **SLOW), draw_belt(folder, **SLOW))
    wait(lambda: len(line.decided) >= 3)
    print("works", flush=True)
    sys.stdin.readline()
    line.close()


# So that a machine with other work commands its first items within the line's reach of the start.
SLOW = {"simulation.speed_mm_s": 1000, "simulation.items.rate_per_s": 4}
ACTUATORS = {"paper": 1, "plastic": 2, "glass": 3, "metal": 4}

if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
