"""``photomend demo``: the whole service at work on one photo, from upload to verified callback."""
