"""A folder of scans as one delivery without any service: manifest, journal, resume and report, as batches have them."""
