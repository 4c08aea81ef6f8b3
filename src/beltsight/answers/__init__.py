"""Answers on disk: JSON lines, CSV and Parquet, written so that a killed run can go on."""

from beltsight.answers.columns import Column, answer_columns, flat_row
from beltsight.answers.file import AnswerFile
from beltsight.answers.forms import Form, form_of
from beltsight.answers.record import json_line
from beltsight.answers.state import RunState

__all__ = [
    "AnswerFile",
    "Column",
    "Form",
    "RunState",
    "answer_columns",
    "flat_row",
    "form_of",
    "json_line",
]
