"""The demo's old photo: NASA's portrait of Eileen Collins (public domain), worn by a fixed seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from photomend.demo.errors import DemoError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: The head in the 512 px portrait: left, top, side in px.
CROP = (105, 0, 240)
#: The lens was soft, px of the crop.
BLUR_SIGMA_PX = 1.0
#: What the print resolves: side in px. The face is about 60 px wide in it.
PRINT_SIDE_PX = 160
#: What the scanner made of it: side in px.
SCAN_SIDE_PX = 480
#: Film grain, standard deviation in 8-bit steps, the same in all three channels.
GRAIN_SIGMA = 6.0
#: Grains are larger than a pixel of the scan.
GRAIN_SIZE_PX = 0.8
JPEG_QUALITY = 60
SEED = 1969


def old_photo() -> bytes:
    """The worn portrait as a PNG; the same bytes' pixels on every machine."""
    import cv2
    import numpy as np
    from skimage import data

    left, top, side = CROP
    portrait: NDArray[np.uint8] = data.astronaut()[top : top + side, left : left + side]  # type: ignore[no-untyped-call]
    soft = cv2.GaussianBlur(portrait.astype(np.float32), (0, 0), BLUR_SIGMA_PX)
    print_ = cv2.resize(soft, (PRINT_SIDE_PX, PRINT_SIDE_PX), interpolation=cv2.INTER_AREA)
    scan = cv2.resize(print_, (SCAN_SIDE_PX, SCAN_SIDE_PX), interpolation=cv2.INTER_CUBIC)
    worn = np.clip(scan + _grain()[..., None], 0, 255).astype(np.uint8)
    _, jpeg = cv2.imencode(".jpg", worn[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    _, png = cv2.imencode(".png", np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR)))
    return bytes(png)


def _grain() -> NDArray[np.float32]:
    """(H, W) float32 of the scan's size, standard deviation ``GRAIN_SIGMA``."""
    import cv2
    import numpy as np

    noise = np.random.default_rng(SEED).standard_normal((SCAN_SIDE_PX, SCAN_SIDE_PX), dtype=np.float32)
    clumped = cv2.GaussianBlur(noise, (0, 0), GRAIN_SIZE_PX)
    grain: NDArray[np.float32] = clumped * (GRAIN_SIGMA / clumped.std())
    return grain


def as_png(photo: bytes) -> bytes:
    """What a viewer shows of any photo that photomend reads, as an 8-bit PNG.

    Raises:
        DemoError: it is not such a photo.
    """
    import cv2
    import numpy as np

    from pipeline import codec, colour
    from pipeline.comparison import over_white
    from pipeline.errors import PipelineError
    from pipeline.picture import whole

    try:
        source = codec.read(photo)
        # Not the colours that lie hidden under transparent pixels.
        shown = over_white(whole(source.picture), None if source.alpha is None else colour.unit(source.alpha))
    except PipelineError as err:
        raise DemoError(f"this photo cannot be used: {err}") from err
    pixels = np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8)
    _, png = cv2.imencode(".png", pixels[..., ::-1])
    return bytes(png)
