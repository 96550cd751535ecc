"""The API of A1111 and SD.Next."""
