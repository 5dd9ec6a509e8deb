"""What a child has done before its picture comes, so that it does not do it while somebody waits.

The first picture that a process decodes costs several times what the second does: code and data of the libraries are
touched for the first time, and every page of the zygote's that is written to is copied.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

#: A tiny picture of each common format, made by libvips: at most 16 x 16 px.
_TINY = (
    # JPEG
    "/9j/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERXRTc4UG1RV19iZ2hnPk1xeXBkeFxlZ2P/2wBD"
    "ARESEhgVGC8aGi9jQjhCY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2P/wAARCAAQABAD"
    "ASIAAhEBAxEB/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUFBAQAAAF9AQIDAAQRBRIhMUEG"
    "E1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4"
    "eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6"
    "/8QAHwEAAwEBAQEBAQEBAQAAAAAAAAECAwQFBgcICQoL/8QAtREAAgECBAQDBAcFBAQAAQJ3AAECAxEEBSExBhJBUQdhcRMiMoEI"
    "FEKRobHBCSMzUvAVYnLRChYkNOEl8RcYGRomJygpKjU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6goOEhYaH"
    "iImKkpOUlZaXmJmaoqOkpaanqKmqsrO0tba3uLm6wsPExcbHyMnK0tPU1dbX2Nna4uPk5ebn6Onq8vP09fb3+Pn6/9oADAMBAAIR"
    "AxEAPwDnV0f/AGakXR/9mu7XR/8AZqRdH/2aAP/Z",
    # PNG
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAACXBIWXMAAAPoAAAD6AG1e1JrAAAAFElEQVQoz2NoIBEwjGoY1TB8"
    "NQAAJYSAEESZTEwAAAAASUVORK5CYII=",
    # TIFF
    "SUkqACYAAAB4nGNgYGBghAJ+AQEYk1FeQQHO1jcwgLMBGFcBQQAQAAABAwABAAAABAAAAAEBAwABAAAABAAAAAIBAwADAAAA/AAA"
    "AAMBAwABAAAACAAAAAYBAwABAAAAAgAAABEBBAABAAAACAAAABIBAwABAAAAAQAAABUBAwABAAAAAwAAABYBAwABAAAAgAAAABcB"
    "BAABAAAAHQAAABoBBQABAAAA7AAAABsBBQABAAAA9AAAABwBAwABAAAAAQAAACgBAwABAAAAAwAAAD0BAwABAAAAAgAAAFMBAwAD"
    "AAAAAgEAAAAAAAAKAAAAAQAAAAoAAAABAAAACAAIAAgAAQABAAEA",
    # WebP
    "UklGRi4AAABXRUJQVlA4ICIAAACQAQCdASoQABAADMDOJaQAAuaKLwAA/ruZbcF3ARAsAAAA",
)


def warm_up(decode: Callable[[bytes], Any]) -> None:
    """Decode one of each."""
    for picture in _TINY:
        decode(base64.b64decode(picture))
