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
    help="Which network restores faces: gfpgan-1.4, gfpgan-1.3, gfpgan-1.2, gfpgan-1, restoreformer, preview. Unnamed: "
    "gfpgan-1.4, or preview if that is missing. Such as --model gfpgan-1.3, or -v 1.3",
    rich_help_panel=RESTORATION,
    show_default=False,
)
SCALE = typer.Option(
    "--scale",
    "-s",
    "--upscale",
    help="Final size / input size, 1 to 4; fractions too, such as --scale 1.5",
    rich_help_panel=RESTORATION,
)
BACKGROUND = typer.Option(
    "--background",
    "--bg-upsampler",
    "--bg_upsampler",
    help="What enlarges everything around the faces: realesrgan-x2plus, realesrgan-x4plus, realesr-general-x4v3, "
    "preview-x2, none (plain resampling; untouched at scale 1), auto (realesrgan-x2plus on a GPU, else none). Such as "
    "--background none",
    rich_help_panel=RESTORATION,
)
TILE_PX = typer.Option(
    "--tile-px",
    "--bg-tile",
    "--bg_tile",
    help="Size of the background's tiles, 128 to 2048 px, where memory is short; 0 = by memory. Such as --tile-px 256",
    rich_help_panel=RESTORATION,
)
STRENGTH = typer.Option(
    "--strength",
    "-w",
    "--weight",
    help="0 = the original face, 1 = the network's, between = a mix of both. Such as --strength 0.7 where a face does "
    "not look like itself any more",
    rich_help_panel=RESTORATION,
)
DENOISE = typer.Option(
    help="0 keeps grain, 1 removes it; realesr-general-x4v3 only: --background realesr-general-x4v3 --denoise 0.2",
    rich_help_panel=RESTORATION,
)
PASSES = typer.Option(
    help="How often each face is restored, 1 or 2: --passes 2 for very poor faces", rich_help_panel=RESTORATION
)
GRAY = typer.Option(
    help="keep: a black-and-white or sepia original stays so. --gray allow-color takes the network's colours",
    rich_help_panel=RESTORATION,
)
SEED = typer.Option(
    help="Other noise for models that draw some, such as --seed 7; results are the same in every run with and without",
    rich_help_panel=RESTORATION,
)

FACES = typer.Option(
    "--faces",
    help="all, center, largest, or those you choose: ids that `photomend detect` shows, and boxes x0,y0,x1,y1 in px; "
    "with commas or repeated. Such as --faces largest, --faces g5k2p,k7m1q or --faces 410,200,520,340",
    rich_help_panel=FACES_PANEL,
)
ONLY_CENTER = typer.Option(
    "--only-center-face", "--only_center_face", help="The same as --faces center", rich_help_panel=FACES_PANEL
)
MIN_FACE_PX = typer.Option(
    help="Leave smaller faces as they are, by the longer side of their boxes: --min-face-px 40",
    rich_help_panel=FACES_PANEL,
)
MAX_FACE_PX = typer.Option(
    help="Leave larger faces as they are, such as those that are sharp already: --max-face-px 800",
    rich_help_panel=FACES_PANEL,
)
MAX_FACES = typer.Option(help="Restore at most so many, the largest: --max-faces 5", rich_help_panel=FACES_PANEL)
MIN_SCORE = typer.Option(
    help="How sure the detector must be, 0 to 1: --min-score 0.8 where things are taken for faces, 0.35 where faces "
    "are missed",
    rich_help_panel=FACES_PANEL,
)
ROTATE = typer.Option(
    "--rotate",
    help="Look for faces that lie on their side or upside down, too; detection takes four times as long: --rotate",
    rich_help_panel=FACES_PANEL,
)
ALIGNED = typer.Option(
    "--aligned",
    help="The input is a face crop already, aligned as FFHQ's are: photomend restore face.png --aligned",
    rich_help_panel=FACES_PANEL,
)

FORMAT = typer.Option(
    "--format",
    "--ext",
    help="auto = the input's; jpeg, png, tiff, webp. Such as --format png. A result file's own name says it, too",
    rich_help_panel=RESULT,
)
QUALITY = typer.Option(help="Of JPEG and WebP, 1 to 100: --quality 90", rich_help_panel=RESULT)
BIT_DEPTH = typer.Option(help="Bits a sample: auto = the input's, 8, 16. Such as --bit-depth 8", rich_help_panel=RESULT)
SUFFIX = typer.Option(help="Appended to result names: --suffix=-mended", rich_help_panel=RESULT)
OUTPUTS = typer.Option(
    "--outputs",
    help="What to make: image, faces (crops before and after), comparison, mask (what changed), provenance (the "
    "record); with commas or repeated. Such as --outputs image,mask",
    rich_help_panel=RESULT,
)
METADATA = typer.Option(
    "--metadata",
    help="keep or strip EXIF, XMP and IPTC; colour profiles always stay: --metadata strip",
    rich_help_panel=RESULT,
)
PAGE = typer.Option(help="Which page of a multi-page TIFF or an animation; 1 = first: --page 3", rich_help_panel=RESULT)
PRECISION = typer.Option(
    help="auto = the fastest that is safe here, exact = float32: --precision exact", rich_help_panel=MACHINE
)
OPTION = typer.Option(
    "--option", metavar="NAME=VALUE", help="Any other option of the API; repeat it", rich_help_panel=RESTORATION
)

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
    if "faces" in words:
        from jobs.faces import choice_from_text

        words["faces"] = choice_from_text(",".join(words["faces"]))
    if only_center and words.get("faces", "all") not in ("all", "center"):
        raise typer.BadParameter("--only-center-face is the same as --faces center; say one of them")
    return words | ({"faces": "center"} if only_center else {})
