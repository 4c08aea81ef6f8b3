"""What settings, policies and cards have in common: a closed form, and lists that may be one name.

>>> class Shelf(Strict):
...     names: Names
>>> Shelf.model_validate({"names": "glass"}).names
('glass',)
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Strict(BaseModel):
    """No key beside the fields, and no change once it is made.

    Not what pydantic calls strict: values are still converted, so that 5 serves for 5.0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


def _listed(value: Any) -> Any:
    """One name stands for a list of one."""
    return [value] if isinstance(value, str) else value


Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], BeforeValidator(_listed), Field(min_length=1)]
