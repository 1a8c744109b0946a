"""Where the page gets nanobar.js from: the app's own copy, or a CDN where there is none."""

from pathlib import Path

from flask import Flask, current_app, url_for

_FILE = "vendor/nanobar.min.js"
_CDN_HOST = "https://cdn.jsdelivr.net"
_CDN = f"{_CDN_HOST}/npm/nanobar@0.4.2/nanobar.min.js"
_INTEGRITY = "sha384-8ZoAJVXMSRmf7z+baNiSMJlwVXqCOM8fd+L0HEpqZC9XAdEuNW5Fs1rpowMmh32w"


def init_app(app: Flask) -> None:
    """Give `longtask/bars.html` what it needs: an imported template sees globals only."""
    app.jinja_env.globals.setdefault("longtask_nanobar", script)


def script() -> dict[str, str | None]:
    """The `src` and the `integrity` of nanobar's script."""
    if _is_here(current_app):
        return {"src": url_for("static", filename=_FILE), "integrity": None}
    return {"src": _CDN, "integrity": _INTEGRITY}


def hosts(app: Flask) -> list[str]:
    """The other hosts that the page loads scripts from, for a content security policy."""
    return [] if _is_here(app) else [_CDN_HOST]


def _is_here(app: Flask) -> bool:
    return bool(app.static_folder) and (Path(str(app.static_folder)) / _FILE).is_file()
