"""One answer as a line of JSON."""

from __future__ import annotations

import json
from typing import Any


def json_line(record: dict[str, Any]) -> bytes:
    """A record as one line of UTF-8, without its end.

    A file name that is no text (a lone byte of another encoding) is written with escapes, as
    ``os.fsdecode`` gives it, so that a reader finds the file again.

    Example:
        >>> json_line({"path": "é.jpg"}), json_line({"path": "\\udce9.jpg"})
        (b'{"path": "\\xc3\\xa9.jpg"}', b'{"path": "\\\\udce9.jpg"}')
    """
    try:
        return json.dumps(record, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        return json.dumps(record, allow_nan=False).encode()
