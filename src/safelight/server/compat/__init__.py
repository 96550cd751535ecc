"""Between other programs' APIs and ours: pure translation, and what their routes share."""
