"""Translation between other programs' APIs and ours, and helpers that several API families share."""
