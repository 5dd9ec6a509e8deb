"""Every error of the image pipeline on one page.

::

    PipelineError
    ├── UnreadableImage        not a picture that we read
    │   ├── TruncatedImage
    │   ├── UnsupportedImage   one of our formats, but a kind of samples that we do not read
    │   └── HostileImage       its decoder crashed, or wanted what no picture needs
    ├── ImageTooLarge          by pixels, from the header
    ├── UnsupportedOption      the chosen model or format cannot honour it
    ├── FaceNotFound           a face was chosen by id or box, and there is none
    ├── WeightsError
    │   ├── WeightsMissing
    │   └── WeightsCorrupt     wrong hash or wrong keys
    ├── BadNetworkOutput       not finite, flat, wrong size, or far from its input
    ├── OutOfMemory            even with the smallest tile
    ├── ScratchFull            the disk for large pictures' working files
    ├── DecoderLost            the decoder's process could not be kept running
    └── Cancelled              the caller's check said stop

``code`` is stable and public, ``public`` a sentence for strangers; ``str(error)`` is for operators.
"""

from __future__ import annotations

from typing import ClassVar


class PipelineError(Exception):
    """Raised when a picture cannot be processed; see the subclasses."""

    code: ClassVar[str] = "pipeline_error"
    public: ClassVar[str] = "The picture could not be processed."


class UnreadableImage(PipelineError):
    """Raised when the bytes are not a picture in a format that we read."""

    code = "image_unreadable"
    public = "The input is not a picture in a format that we read (JPEG, PNG, TIFF, WebP, GIF, AVIF)."


class TruncatedImage(UnreadableImage):
    """Raised when the file ends before the picture does, or is damaged inside."""

    code = "image_truncated"
    public = "The input picture is truncated or damaged."


class UnsupportedImage(UnreadableImage):
    """Raised when the file is in one of our formats but of a kind that we do not read, such as float samples."""

    code = "image_unsupported"
    public = (
        "The input picture's kind is not one that we read: gray, RGB or CMYK of up to 16 bits; no HEIC, no camera raw."
    )


class HostileImage(UnreadableImage):
    """Raised when decoding crashes, takes longer than allowed, or tries what decoding does not need."""

    code = "image_hostile"
    public = (
        "The input crashed its decoder, or took more time than any picture needs; it was locked in and did no harm."
    )


class ImageTooLarge(PipelineError):
    """Raised when the header announces more pixels than allowed, before anything is decoded."""

    code = "image_too_large"
    public = "The picture has more pixels than allowed."


class UnsupportedOption(PipelineError):
    """Raised when the chosen model or output format cannot honour an option."""

    code = "unsupported_option"
    public = "An option cannot be honoured by the chosen model or format."


class FaceNotFound(PipelineError):
    """Raised when ``faces`` names a face by id or box and none was found there."""

    code = "face_not_found"
    public = "A chosen face is not in the picture."


class WeightsError(PipelineError):
    """Raised when a network cannot be loaded; see the subclasses."""

    code = "weights_error"
    public = "The model's weights cannot be used."


class WeightsMissing(WeightsError):
    """Raised when the named model's file is not there; the message says how to fetch it."""

    code = "weights_missing"
    public = "The named model's weights are not installed here."


class WeightsCorrupt(WeightsError):
    """Raised when a weights file has the wrong hash, holds more than tensors, or does not fit its network."""

    code = "weights_corrupt"
    public = "The named model's weights are damaged or are not what they are named."


class BadNetworkOutput(PipelineError):
    """Raised when a network gives values that cannot be right: not finite, flat, wrong size, far from the input."""

    code = "bad_network_output"
    public = "The restoration gave an implausible result and was discarded."


class OutOfMemory(PipelineError):
    """Raised when the device has too little memory even for the smallest tile."""

    code = "out_of_memory"
    public = "The picture needs more memory than the device has."


class ScratchFull(PipelineError):
    """Raised when a large picture's working files do not fit onto the disk; the message names the folder."""

    code = "scratch_full"
    public = "The picture needs more scratch space than the machine has free."


class DecoderLost(PipelineError):
    """Raised when the process that decodes does not start or is lost again and again; no fault of the picture's."""

    code = "decoder_lost"
    public = "The picture's decoder could not be kept running."


class Cancelled(PipelineError):
    """Raised by the caller's progress callback to stop between steps; never an error of the picture."""

    code = "canceled"
    public = "The job was canceled."
