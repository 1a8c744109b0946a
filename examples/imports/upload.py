"""The file in a request: that there is one, that it is not too large, and that there is room for it.

Keeping it is for pieces.py.
"""

import errno
import io
import shutil

from flask import current_app, request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import (
    RequestEntityTooLarge,
    ServiceUnavailable,
    UnsupportedMediaType,
)

from examples.database import db
from flask_longtask import BadField, fields
from flask_longtask.web.body import exceeds_its_limit
from flask_longtask.web.problems import RETRY_AFTER

#: Bytes that a request may have beside the file in it: the borders and names of its parts.
_FRAMING = 16 * 1024

#: Bytes of the request that Werkzeug may hold at a time while it looks for the file's end. It reads 64 KiB at once
#: and refuses a file when what is left of the last piece and the next are more than this together.
_PARSER_MEMORY = 256 * 1024

#: Bytes that are left free for all else on the disk of an SQLite database.
_RESERVE = 1024 * 1024

#: What the system says of a temporary file for which there is no room; ENOENT is Python's when no folder has any.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOENT)


def uploaded_file() -> FileStorage:
    """The file in the request, which waits in a temporary file. More than may be sent is not read."""
    if request.mimetype != "multipart/form-data":
        raise UnsupportedMediaType("Send multipart/form-data with the file as its field 'file'.")
    request.max_content_length = current_app.config["IMPORT_MAX_BYTES"] + _FRAMING
    request.max_form_memory_size = _PARSER_MEMORY
    try:
        file = request.files.get("file")
    except RequestEntityTooLarge:
        if exceeds_its_limit():
            raise _too_large() from None
        raise
    except OSError as error:
        if error.errno not in _FULL:
            raise
        current_app.logger.warning("An upload cannot be kept in a temporary file: %s", error)
        raise _no_room() from None
    fields()  # refuses a form that cannot be read, which Werkzeug takes for an empty one
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


def check_room_for(size: int) -> None:
    """Raise ServiceUnavailable where so many bytes do not fit on the disk of the database, if that is SQLite's.

    A disk that is full to the last byte takes no DELETE either. The file is written twice: into the log of
    the database first, and from there into its place.
    """
    path = db.engine.url.database
    if db.engine.dialect.name == "sqlite" and path:
        free = shutil.disk_usage(path).free
        if free < 2 * size + _RESERVE:
            current_app.logger.warning("%d bytes are free, which are too few for an upload.", free)
            raise _no_room()


def _no_room() -> ServiceUnavailable:
    return ServiceUnavailable(
        "There is no room for the file at the moment. Try again later.", retry_after=RETRY_AFTER
    )


def _too_large() -> RequestEntityTooLarge:
    megabytes = current_app.config["IMPORT_MAX_BYTES"] / 1_000_000
    return RequestEntityTooLarge(
        f"The file is too large: at most {megabytes:,.4g} MB can be imported."
    )
