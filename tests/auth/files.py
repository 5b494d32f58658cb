"""The beginnings of files of many kinds."""

from __future__ import annotations

import io
import struct
import zipfile


def _zip(name: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(name, "x")
    return made.getvalue()


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(40)
JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01" + bytes(40)
GIF = b"GIF89a\x01\0\x01\0" + bytes(30)
WEBP = b"RIFF\x24\0\0\0WEBPVP8 " + bytes(30)
HEIC = b"\0\0\0\x20ftypheic\0\0\0\0heicmif1" + bytes(30)
AVIF = b"\0\0\0\x20ftypavif\0\0\0\0avifmif1" + bytes(30)
BMP = b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + bytes(40)
TIFF = b"II*\0" + bytes(20)
MP4 = b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(30)
WEBM = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\1\x42\xf7\x81\1\x42\x82\x84webm" + bytes(20)
MP3 = b"ID3\4\0\0\0\0\0\0" + bytes(30)
WAV = b"RIFF\x24\0\0\0WAVEfmt " + bytes(30)
OGG = b"OggS\0\2" + bytes(30)
PDF = b"%PDF-1.7\n1 0 obj\n"
ZIP = _zip("a.txt")
DOCX = _zip("[Content_Types].xml")
GZIP = b"\x1f\x8b\x08" + bytes(20)
TAR = bytes(257) + b"ustar\x0000" + bytes(248)
EXE = b"MZ\x90\0\3\0\0\0\4\0\0\0\xff\xff" + bytes(60)
ELF = b"\x7fELF\2\1\1" + bytes(60)
SCRIPT = b"#!/bin/sh\nrm -rf /\n"
HTML = b"<!DOCTYPE html><html><script>alert(1)</script></html>"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>"
XML_SVG = b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>"
CSV = b"name,size\nM\xc3\xbcller,3\n"
BM_CSV = b"BM,size\n1,3\n"
JSON = b'{"a": [1, 2]}'
NOISE = bytes(range(160, 255)) * 3
ZEROS = bytes(4096)
