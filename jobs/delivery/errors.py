"""What can be wrong with a report or a delivery.

::

    JobsError
    └── DeliveryError
        ├── RowUnreadable      a line of a report is not one of ours
        ├── RowsOutOfOrder     a part is not sorted by number
        ├── RowRepeated        a manifest line is accounted for twice
        ├── RowsMissing        manifest lines without a row
        ├── RowUnknown         a row for a line that the manifest does not have
        ├── ManifestUnreadable
        ├── NotDelivered       files of the delivery are missing or not what the report says
        └── NotInstalled       needs an extra
"""

from __future__ import annotations

from jobs.errors import JobsError


class DeliveryError(JobsError):
    """Raised when a delivery cannot be made or is not what it says; see the subclasses."""

    code = "delivery_failed"
    public = "The delivery is not in order."


class RowUnreadable(DeliveryError):
    """Raised when a line of a report cannot be read as a row; the message names the line."""

    code = "report_unreadable"
    public = "The report has a line that cannot be read."


class RowsOutOfOrder(DeliveryError):
    """Raised when a part of a report is not sorted by number, so that it cannot be merged in one pass."""

    code = "report_out_of_order"
    public = "A part of the report is not in the manifest's order."


class RowRepeated(DeliveryError):
    """Raised when a line of the manifest is accounted for twice."""

    code = "report_rows_repeated"
    public = "The report accounts for a line of the manifest more than once."


class RowsMissing(DeliveryError):
    """Raised when lines of the manifest are not accounted for."""

    code = "report_rows_missing"
    public = "The report does not account for every line of the manifest."


class RowUnknown(DeliveryError):
    """Raised when a row is for a line that the manifest does not have."""

    code = "report_rows_unknown"
    public = "The report has a row for a line that the manifest does not have."


class ManifestUnreadable(DeliveryError):
    """Raised when a manifest cannot be read; the message names the line."""

    code = "manifest_unreadable"
    public = "The manifest cannot be read."


class NotDelivered(DeliveryError):
    """Raised when files that the report names are not there, or are not what it says."""

    code = "delivery_incomplete"
    public = "Files of the delivery are missing or are not what the report says."


class NotInstalled(DeliveryError):
    """Raised when a package of an optional extra is missing; the message says how to install it."""

    code = "extra_missing"
    public = "A package that this needs is not installed."
