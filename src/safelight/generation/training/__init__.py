"""Training: small networks that change a checkpoint, from pictures with captions."""
