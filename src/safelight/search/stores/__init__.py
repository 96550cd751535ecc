"""Built-in vector stores, a module for each."""
