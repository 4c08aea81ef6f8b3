"""Vision for waste-sorting lines: what is it, how sure, and why.

>>> import beltsight
>>> model = beltsight.load()  # the packaged model
>>> [task.name for task in model.tasks]
['material', 'contamination', 'dirt']

What is listed in ``__all__`` is public and stable; everything else may change.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

from beltsight.errors import BeltsightError
from beltsight.train import train

if TYPE_CHECKING:
    from beltsight.dataset import Dataset, load_dataset
    from beltsight.decide import Decider, Reason, bind
    from beltsight.evaluation import Evaluation, evaluate
    from beltsight.image import Preparation, prepare
    from beltsight.model import Model, load
    from beltsight.policy import Policy, load_policy
    from beltsight.records import Answer, Decision, Frame, Prediction, Sample, TaskSpec

    __version__: str

__all__ = [
    "Answer",
    "BeltsightError",
    "Dataset",
    "Decider",
    "Decision",
    "Evaluation",
    "Frame",
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

_MODULES = {
    "dataset": ("Dataset", "load_dataset"),
    "decide": ("Decider", "Reason", "bind"),
    "evaluation": ("Evaluation", "evaluate"),
    "image": ("Preparation", "prepare"),
    "model": ("Model", "load"),
    "policy": ("Policy", "load_policy"),
    "records": ("Answer", "Decision", "Frame", "Prediction", "Sample", "TaskSpec"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def _find(name: str) -> object:
    """A public name, from its module: NumPy, OpenCV and Pydantic are read when first needed."""
    if name == "__version__":
        return _import_module("importlib.metadata").version("beltsight")
    if name not in _HOMES:
        raise AttributeError(f"module 'beltsight' has no attribute {name!r}")
    return getattr(_import_module(f"beltsight.{_HOMES[name]}"), name)


if not TYPE_CHECKING:  # a type checker would take any name for granted

    def __getattr__(name: str) -> object:
        return globals().setdefault(name, _find(name))

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, "__version__"})
