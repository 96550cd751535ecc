"""The web UI: a Gradio page, and the JavaScript that runs it."""
