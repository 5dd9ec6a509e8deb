"""Batches: one record, a manifest of any length, a window of jobs, and a report with one row for each line."""
