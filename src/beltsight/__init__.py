"""Vision for waste-sorting lines: what is it, how sure, and why.

>>> import beltsight
>>> model = beltsight.load()  # the packaged model
>>> [task.name for task in model.tasks]
['material']

What is listed in ``__all__`` is public and stable; everything else may change.
"""

from importlib.metadata import version as _version

__version__ = _version("beltsight")

from beltsight.dataset import Dataset, load_dataset
from beltsight.errors import BeltsightError
from beltsight.evaluate import Evaluation, evaluate
from beltsight.image import Preparation, prepare
from beltsight.model import Model, load
from beltsight.records import Answer, Decision, Frame, Item, Prediction, Sample, TaskSpec
from beltsight.train import train

__all__ = [
    "Answer",
    "BeltsightError",
    "Dataset",
    "Decision",
    "Evaluation",
    "Frame",
    "Item",
    "Model",
    "Prediction",
    "Preparation",
    "Sample",
    "TaskSpec",
    "evaluate",
    "load",
    "load_dataset",
    "prepare",
    "train",
]
