"""Routes of the OpenAI API."""
