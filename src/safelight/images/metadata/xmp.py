"""Read and write our own property in an XMP packet (ISO 16684-1), which holds the record in JPEG and WebP."""

from __future__ import annotations

import re
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

NAMESPACE = "urn:safelight:"
PROPERTY = "record"
_NAME = f"{NAMESPACE} {PROPERTY}"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_MAX_ATTRIBUTES = 50_000  # the parser makes those of one element at once, and no other thread runs meanwhile
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def build_packet(record: str) -> bytes:
    """Build an XMP packet with one text.

    Raises:
        ValueError: The text has a character that XML cannot represent.
    """
    if bad := _NOT_IN_XML.search(record):
        raise ValueError(f"XML cannot hold the character U+{ord(bad[0]):04X}")
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}"><rdf:Description rdf:about=""'
        f' xmlns:safelight="{NAMESPACE}" safelight:{PROPERTY}={quoteattr(record)}/></rdf:RDF></x:xmpmeta>'
        '<?xpacket end="r"?>'
    ).encode()


def read_record(xmp: bytes) -> str | None:
    """Read the text from a packet, stored as an attribute or as an element; None if there is none.

    Raises:
        ValueError: The packet is not XML, it defines entities, or it has too many attributes.
    """
    if xmp.count(b"=") > _MAX_ATTRIBUTES:
        raise ValueError(f"it has more than {_MAX_ATTRIBUTES} attributes")
    reader = _RecordParser()
    try:
        reader.parser.Parse(xmp.strip(b"\0 \r\n\t"), True)
    except expat.ExpatError as error:
        raise ValueError(f"it is no XML: {error}") from error
    return reader.found


class _RecordParser:
    """Finds the property while parsing, without building a tree."""

    def __init__(self) -> None:
        self.found: str | None = None
        self._open: list[str] | None = None
        self.parser = expat.ParserCreate("utf-8", " ")
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._refuse

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.found = attributes.get(_NAME, self.found)
        if name == _NAME:
            self._open = []

    def _text(self, text: str) -> None:
        if self._open is not None:
            self._open.append(text)

    def _end(self, name: str) -> None:
        if name == _NAME and self._open is not None:
            self.found, self._open = "".join(self._open), None

    def _refuse(self, *_: object) -> None:
        raise ValueError("it defines a document type, which XMP does not need")
