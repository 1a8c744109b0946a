"""Where the page loads nanobar from: the app's own copy or, without one, a CDN."""

from pathlib import Path

from flask import Flask, current_app, url_for

_FILE = "vendor/nanobar.min.js"
_CDN_HOST = "https://cdn.jsdelivr.net"
_CDN = f"{_CDN_HOST}/npm/nanobar@0.4.2/nanobar.min.js"
_INTEGRITY = "sha384-8ZoAJVXMSRmf7z+baNiSMJlwVXqCOM8fd+L0HEpqZC9XAdEuNW5Fs1rpowMmh32w"


def init_app(app: Flask) -> None:
    """Make `script` a template global: a macro that another template imports, as `bars`, sees only globals."""
    app.jinja_env.globals.setdefault("longtask_nanobar", script)


def script() -> dict[str, str | None]:
    """Return the `src` and the `integrity` of nanobar's script element."""
    if _is_here(current_app):
        return {"src": url_for("static", filename=_FILE), "integrity": None}
    return {"src": _CDN, "integrity": _INTEGRITY}


def hosts(app: Flask) -> list[str]:
    """Return the other hosts from which the page loads scripts, for a content security policy."""
    return [] if _is_here(app) else [_CDN_HOST]


def _is_here(app: Flask) -> bool:
    return bool(app.static_folder) and (Path(str(app.static_folder)) / _FILE).is_file()
