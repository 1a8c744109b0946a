"""Checks the file in a request: its presence, its size, and the space for it. pieces.py keeps the file."""

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

#: Maximum size in bytes of the rest of the request: the boundaries and names of its parts.
_FRAMING = 16 * 1024

#: Bytes of the request that Werkzeug may hold while it looks for the end of the file. It reads 64 KiB at once, and
#: refuses the file if the rest of the last piece and the next piece together exceed this limit.
_PARSER_MEMORY = 256 * 1024

#: Bytes to leave free on the disk of an SQLite database.
_RESERVE = 1024 * 1024

#: Errors for a temporary file when the disk is full. Python raises ENOENT if no temporary folder has space.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOENT)


def uploaded_file() -> FileStorage:
    """Return the file in the request, kept in a temporary file. Nothing beyond the maximum size is read."""
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
    fields()  # refuses an unreadable form, which Werkzeug treats as empty
    if not file or not file.filename:  # without a chosen file, browsers send one without a name
        raise BadField("file", "is missing: choose a CSV file.")
    return file


def name_of(file: FileStorage) -> str:
    return (file.filename or "upload.csv").replace("\0", "")[:200]


def size_of(file: FileStorage) -> int:
    """Return the size of the file in bytes. Raises RequestEntityTooLarge above IMPORT_MAX_BYTES.

    `uploaded_file` limits only the whole request, so the file may still be slightly too large.
    """
    size = file.stream.seek(0, io.SEEK_END)
    if size > current_app.config["IMPORT_MAX_BYTES"]:
        raise _too_large()
    return size


def check_room_for(size: int) -> None:
    """Raise ServiceUnavailable if an SQLite database has too little free disk space for a file of this size.

    On a completely full disk, even a DELETE fails. The file is written twice: first to the log of the database, and
    from there to the database itself.
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
