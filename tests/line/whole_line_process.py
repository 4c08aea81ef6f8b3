"""A whole line in a process of its own, so that a test can kill it: FOLDER MODBUS_PORT."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.line.whole import WholeLine, draw_belt, settings_in, wait


def main(folder: Path, port: int) -> None:
    link = {"kind": "modbus", "port": port, "actuators": ACTUATORS}
    line = WholeLine(settings_in(folder, link), draw_belt(folder))
    wait(lambda: len(line.decided) >= 3)
    print("works", flush=True)
    sys.stdin.readline()
    line.close()


ACTUATORS = {"paper": 1, "plastic": 2, "glass": 3, "metal": 4}

if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
