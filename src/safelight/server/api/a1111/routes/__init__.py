"""Routes of the A1111 and SD.Next API."""
