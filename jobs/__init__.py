"""The contract between the API and the workers: records, states, keys, queues. Importing it opens nothing."""
