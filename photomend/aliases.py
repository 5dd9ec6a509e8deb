"""The seed project's words for our options, as its users have them in their fingers."""

from __future__ import annotations

#: The seed project's words → ours. What is not here is passed on as it is, for the options' own check.
MODELS = {
    "1": "gfpgan-1",
    "1.2": "gfpgan-1.2",
    "1.3": "gfpgan-1.3",
    "1.4": "gfpgan-1.4",
    "RestoreFormer": "restoreformer",
}
BACKGROUNDS = {"realesrgan": "realesrgan-x2plus", "None": "none"}
FORMATS = {"jpg": "jpeg", "tif": "tiff"}
