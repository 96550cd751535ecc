"""The studio in the browser: a Gradio page, and the JavaScript that makes it live."""
