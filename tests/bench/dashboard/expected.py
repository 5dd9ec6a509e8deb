"""What a recording on a machine without a GPU cannot show, and which alerts its made trouble must wake."""

from __future__ import annotations

from collections.abc import Mapping

#: Queries to which nothing comes, by panel and legend, and why. None since counters are told from the beginning.
EMPTY: Mapping[tuple[str, str], str] = {}

#: Queries all of whose curves stay at 0, and why.
STILL: Mapping[tuple[str, str], str] = {
    ("Given up", ""): "no job is poison: each crash hits another one",
    ("Memory", "GPU"): "no GPU",
    ("Out of memory and ends of processes", "did not fit"): "no GPU",
    ("Leases lost, messages sent again", "sent again"): "chance: few workers die between message and claim",
}

#: Alerts that the trouble fires, and by what.
FIRES: Mapping[str, str] = {
    "PhotomendCallbacksUndelivered": "a receiver answers 410",
    "PhotomendProcessesDie": "worker processes are killed four times",
}

#: Alerts whose condition the trouble meets, but for less time than they wait for, and by what.
PENDS: Mapping[str, str] = {"PhotomendStoreDown": "Redis is killed"}

#: Alerts whose condition may be met for a moment.
MAY_PEND: Mapping[str, str] = {
    "PhotomendMetricsMissing": "before the first scrape",
    "PhotomendNoWorkers": "both worker processes were killed, and start again",
    "PhotomendLanesIdle": "small pictures: two cores are busy with everything around the device",
    "PhotomendApiErrors": "503 while Redis is away",
    "PhotomendApiSlow": "two cores do everything",
    "PhotomendPeopleWait": "while Redis is away",
}
