"""The file in a request: that there is one, and that it is not too large. Keeping it is for pieces.py."""

import io

from flask import current_app, request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from flask_longtask import BadField

#: Bytes that a request may have beside the file in it: the borders and names of its parts.
_FRAMING = 16 * 1024

#: Bytes of the request that Werkzeug may hold at a time while it looks for the file's end. It reads 64 KiB at once
#: and refuses a file when what is left of the last piece and the next are more than this together.
_PARSER_MEMORY = 256 * 1024


def uploaded_file() -> FileStorage:
    """The file in the request, which waits in a temporary file. More than may be sent is not read."""
    if request.mimetype != "multipart/form-data":
        raise UnsupportedMediaType("Send multipart/form-data with the file as its field 'file'.")
    request.max_content_length = current_app.config["IMPORT_MAX_BYTES"] + _FRAMING
    request.max_form_memory_size = _PARSER_MEMORY
    try:
        file = request.files.get("file")
    except RequestEntityTooLarge:
        raise _too_large() from None
    if not file or not file.filename:  # a browser sends a nameless file when none was chosen
        raise BadField("file", "is missing: choose a CSV file.")
    return file


def name_of(file: FileStorage) -> str:
    return (file.filename or "upload.csv").replace("\0", "")[:200]


def size_of(file: FileStorage) -> int:
    """Its bytes. What `uploaded_file` lets through may still be larger than a file may be."""
    size = file.stream.seek(0, io.SEEK_END)
    if size > current_app.config["IMPORT_MAX_BYTES"]:
        raise _too_large()
    return size


def _too_large() -> RequestEntityTooLarge:
    megabytes = current_app.config["IMPORT_MAX_BYTES"] / 1_000_000
    return RequestEntityTooLarge(
        f"The file is too large: at most {megabytes:,.4g} MB can be imported."
    )
