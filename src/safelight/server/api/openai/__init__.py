"""The API of OpenAI: images and moderations."""
