"""What kept activations of frozen layers save; see README.md.

python studies/trunk/run.py train             # what has no result yet; goes on where it stopped
python studies/trunk/run.py measure           # one look at the test split for each result
python studies/trunk/run.py table plot
python studies/trunk/run.py train measure table plot --quick   # a slice, in a temporary folder
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
from studies.sweep import main  # noqa: E402

if __name__ == "__main__":
    main(HERE)
