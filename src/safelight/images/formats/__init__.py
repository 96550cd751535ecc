"""One module for each picture format: check a file's structure, and open it."""
