"""Points in time as callers write them: RFC 3339."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

#: Source: RFC 3339, 5.6; of a fraction, six digits count.
_FORM = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ](?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2})(?P<fraction>\.[0-9]+)?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<hours>[0-9]{2}):(?P<minutes>[0-9]{2}))\Z"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(text: str) -> float:
    """Seconds since 1970, UTC.

    Raises:
        ValueError: it is no time of RFC 3339.
    """
    found = _FORM.match(text)
    try:
        if found is None:
            raise ValueError("unlike its form")  # noqa: TRY301 (said once, below)
        # A leap second is the next one, as clocks have it; of the year 0, which Python has not, the end will do.
        date, time = found["date"], found["time"]
        leap = time.endswith(":60")
        local = datetime.fromisoformat(f"{max(date, '0001-01-01')}T{time[:-2] + '59' if leap else time}+00:00")
        fraction = float(found["fraction"] or 0)
        ahead = timedelta(hours=int(found["hours"] or 0), minutes=int(found["minutes"] or 0))
    except ValueError as err:
        raise ValueError("must be a time with its zone, such as 2026-01-31T12:00:00Z (+ as %2B in a URL)") from err
    offset = ahead.total_seconds() * (-1 if found["sign"] == "-" else 1)
    return (local - _EPOCH).total_seconds() + leap + fraction - offset


def _checked(text: str) -> str:
    moment(text)
    return text


#: What stands in a query; ``moment`` reads it.
Moment = Annotated[str, AfterValidator(_checked), WithJsonSchema({"type": "string", "format": "date-time"})]
