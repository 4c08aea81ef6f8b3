"""What each part of the training gives: one removed or changed at a time; see README.md.

python studies/ablation/run.py train             # what has no result yet; goes on where it stopped
python studies/ablation/run.py measure           # one look at the test split for each result
python studies/ablation/run.py table plot
python studies/ablation/run.py train measure table plot --quick   # a slice, in a temporary folder
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
from studies.sweep import main  # noqa: E402

if __name__ == "__main__":
    main(HERE)
