"""The seeded recipe behind the preview weights: degradation, data, losses, loop, evaluation, export.

Every sample is a function of (seed, step, place in the batch) and of the data folder, so that a run that was stopped
and resumed continues bit for bit, and so that the same commands give the same recipe again.
"""
