"""From the bytes of a request's body to checked fields and images."""
