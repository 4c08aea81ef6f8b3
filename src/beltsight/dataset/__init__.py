"""Data sets: index them, check their health, split them, fetch the public one."""

from beltsight.dataset.index import Dataset, load_dataset

__all__ = ["Dataset", "load_dataset"]
