"""Vision for waste-sorting lines: what is it, how sure, and why.

>>> import beltsight
>>> model = beltsight.load()  # the packaged model
>>> [task.name for task in model.tasks]
['material', 'contamination', 'dirt']

What is listed in ``__all__`` is public and stable; everything else may change.
"""

from importlib.metadata import version as _version

__version__ = _version("beltsight")

from beltsight.dataset import Dataset, load_dataset
from beltsight.decide import Decider, Reason, bind
from beltsight.errors import BeltsightError
from beltsight.evaluate import Evaluation, evaluate
from beltsight.image import Preparation, prepare
from beltsight.model import Model, load
from beltsight.policy import Policy, load_policy
from beltsight.records import Answer, Decision, Frame, Item, Prediction, Sample, TaskSpec
from beltsight.train import train

__all__ = [
    "Answer",
    "BeltsightError",
    "Dataset",
    "Decider",
    "Decision",
    "Evaluation",
    "Frame",
    "Item",
    "Model",
    "Policy",
    "Prediction",
    "Preparation",
    "Reason",
    "Sample",
    "TaskSpec",
    "bind",
    "evaluate",
    "load",
    "load_dataset",
    "load_policy",
    "prepare",
    "train",
]
