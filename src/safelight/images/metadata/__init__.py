"""Read and write metadata in picture files: EXIF, XMP, PNG text."""
