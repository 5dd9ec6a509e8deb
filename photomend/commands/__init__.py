"""One module for each command. They import nothing heavy until they run."""
