"""What a finished batch hands over: a report that accounts for every line of its manifest, and its provenance.

The same for a batch of the service and for a folder that ``photomend restore`` went through (``photomend.delivery``).
Needs the standard library alone.
"""
