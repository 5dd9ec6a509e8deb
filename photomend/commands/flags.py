"""The flags of ``restore`` and ``submit``: the same words for the same wishes, those of the seed project included.

Each is an option of typer's, to be used in an annotation: ``scale: Annotated[float, flags.SCALE] = 2.0``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

#: Headings of the help.
RESTORATION, FACES_PANEL, RESULT, MACHINE = "Restoration", "Which faces", "Result", "This machine"

MODEL = typer.Option(
    "--model",
    "-v",
    "--version",
    help="gfpgan-1.4, 1.3, 1.2, 1, restoreformer, preview. Unnamed: gfpgan-1.4, or preview if that is missing",
    rich_help_panel=RESTORATION,
    show_default=False,
)
SCALE = typer.Option("--scale", "-s", "--upscale", help="Final size / input size, 1 to 4", rich_help_panel=RESTORATION)
BACKGROUND = typer.Option(
    "--background",
    "--bg-upsampler",
    "--bg_upsampler",
    help="Around the faces: auto, realesrgan-x2plus, realesrgan-x4plus, realesr-general-x4v3, preview-x2, "
    "none (plain resampling; untouched at scale 1)",
    rich_help_panel=RESTORATION,
)
TILE_PX = typer.Option(
    "--tile-px", "--bg-tile", "--bg_tile", help="Background tile; 0 = by memory", rich_help_panel=RESTORATION
)
STRENGTH = typer.Option(
    "--strength", "-w", "--weight", help="0 = the original face, 1 = the network's", rich_help_panel=RESTORATION
)
DENOISE = typer.Option(help="0 keeps grain, 1 removes it; realesr-general-x4v3 only", rich_help_panel=RESTORATION)
PASSES = typer.Option(help="2 = restore each face twice", rich_help_panel=RESTORATION)
GRAY = typer.Option(help="keep: a monochrome or toned original stays so. allow-color", rich_help_panel=RESTORATION)
SEED = typer.Option(help="Feeds the noise; results are the same in every run without it", rich_help_panel=RESTORATION)

FACES = typer.Option(help="all, center or largest", rich_help_panel=FACES_PANEL)
ONLY_CENTER = typer.Option(
    "--only-center-face", "--only_center_face", help="The same as --faces center", rich_help_panel=FACES_PANEL
)
MIN_FACE_PX = typer.Option(help="Leave smaller faces as they are", rich_help_panel=FACES_PANEL)
MAX_FACE_PX = typer.Option(help="Leave larger faces as they are", rich_help_panel=FACES_PANEL)
MAX_FACES = typer.Option(help="Restore at most so many", rich_help_panel=FACES_PANEL)
MIN_SCORE = typer.Option(help="How sure the detector must be, 0 to 1", rich_help_panel=FACES_PANEL)
ALIGNED = typer.Option("--aligned", help="The input is an aligned face crop already", rich_help_panel=FACES_PANEL)

FORMAT = typer.Option("--format", "--ext", help="auto = the input's; jpeg, png, tiff, webp", rich_help_panel=RESULT)
QUALITY = typer.Option(help="Of JPEG and WebP, 1 to 100", rich_help_panel=RESULT)
BIT_DEPTH = typer.Option(help="auto = the input's; 8, 16", rich_help_panel=RESULT)
SUFFIX = typer.Option(help="Appended to result names, such as -mended", rich_help_panel=RESULT)
OUTPUTS = typer.Option(
    "--outputs",
    help="Of image, faces, comparison, mask, provenance; with commas or repeated",
    rich_help_panel=RESULT,
)
METADATA = typer.Option("--metadata", help="keep or strip EXIF, XMP and IPTC; ICC always stays", rich_help_panel=RESULT)
PRECISION = typer.Option(help="auto = the fastest that is safe; exact = float32", rich_help_panel=MACHINE)

#: The seed project's values, as its users have them in their fingers. What is not here is passed on as it is, for the
#: options' own check.
_OURS = {
    "model": {
        "1": "gfpgan-1",
        "1.2": "gfpgan-1.2",
        "1.3": "gfpgan-1.3",
        "1.4": "gfpgan-1.4",
        "RestoreFormer": "restoreformer",
    },
    "background": {"realesrgan": "realesrgan-x2plus", "None": "none"},
    "format": {"jpg": "jpeg", "tif": "tiff"},
}


def as_options(said: Mapping[str, Any], *, only_center: bool) -> dict[str, Any]:
    """What was said, in the words of ``jobs.options``; what was not said is left out."""
    words = {name: value for name, value in said.items() if value is not None}
    for name, ours in _OURS.items():
        if name in words:
            words[name] = ours.get(words[name], words[name])
    if "outputs" in words:
        words["outputs"] = [part.strip() for text in words["outputs"] for part in text.split(",") if part.strip()]
    return words | ({"faces": "center"} if only_center else {})
