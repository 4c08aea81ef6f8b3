"""Where photos come from: folders, files, patterns, lists, tar archives and object storage."""

from beltsight.sources.find import count_files, find_sources, shown_path
from beltsight.sources.listed import read_list
from beltsight.sources.stored import FoundPhoto, StoredPhoto, is_shard, name_of

__all__ = [
    "FoundPhoto",
    "StoredPhoto",
    "count_files",
    "find_sources",
    "is_shard",
    "name_of",
    "read_list",
    "shown_path",
]
