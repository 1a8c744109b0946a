"""The requests to the shop, in their order, by two users and by programs. record.py sends them."""

from typing import Any, NamedTuple

FOREIGN = {"Origin": "https://idp.example.org"}
CROSS_SITE = {**FOREIGN, "Sec-Fetch-Site": "cross-site"}
SAME_SITE = {"Origin": "https://pay.localhost", "Sec-Fetch-Site": "same-site"}
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


class Asked(NamedTuple):
    method: str
    path: str
    #: The user whose browser sends the request; "" for a program without cookies.
    who: str = ""
    headers: dict[str, str] = {}  # noqa: RUF012  # never changed
    form: dict[str, str] | None = None
    json: Any = None
    #: Whether the request has the CSRF token of the browser's session.
    token: bool = True
    #: How it differs from similar requests, for the name of the test.
    why: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.method, self.path, self.who, self.why)))


def key(text: str) -> dict[str, str]:
    return {"Idempotency-Key": text}


ASKED = (
    Asked("GET", "/"),
    Asked("GET", "/", headers=HTML, why="as a browser"),
    Asked("HEAD", "/"),
    Asked("OPTIONS", "/"),
    Asked("GET", "/named"),
    Asked("GET", "/cookies", "ann"),
    Asked("GET", "/cookies", "ann", why="again"),
    # Addresses that LongTask also has
    Asked("GET", "/status"),
    Asked("GET", "/status?id=1"),
    Asked("GET", "/status/17"),
    Asked("GET", "/status/17", headers={"Accept": "text/event-stream"}, why="as a stream"),
    Asked("HEAD", "/status/17"),
    Asked("OPTIONS", "/status/17"),
    Asked("DELETE", "/status/17", "ann"),
    Asked("POST", "/status/17", "ann"),
    Asked("PUT", "/status/17", "ann"),
    Asked("GET", "/tasks"),
    Asked("GET", "/tasks", headers=HTML, why="as a browser"),
    Asked("POST", "/tasks", "ann", form={"task": "count the money"}),
    Asked("POST", "/tasks", "ann", form={"task": "steal"}, token=False, why="no token"),
    Asked("OPTIONS", "/tasks"),
    Asked("GET", "/health"),
    Asked("DELETE", "/health", "ann"),
    Asked("GET", "/session"),
    # Login and logout
    Asked("GET", "/me", "ann", why="before the login"),
    Asked("POST", "/login", "ann", form={"name": "ann"}, token=False, why="no token"),
    Asked("POST", "/login", "ann", form={"name": "ann"}),
    Asked("GET", "/me", "ann"),
    Asked("GET", "/", "ann"),
    Asked("POST", "/login", "bob", form={"name": "bob"}),
    Asked("GET", "/me", "bob"),
    Asked("GET", "/me", headers={"Authorization": "Bearer wrong"}, why="a token"),
    # An Idempotency-Key of its own
    Asked("POST", "/orders", "ann", key("first")),
    Asked("POST", "/orders", "ann", key("first"), why="again"),
    Asked("POST", "/orders", "bob", key("first")),
    Asked("POST", "/orders", "ann", key("first"), form={"another": "body"}, why="another body"),
    Asked("POST", "/orders", "ann", key("ann's second order"), why="with spaces"),
    Asked("POST", "/orders", "ann", key('"unfinished'), why="unfinished"),
    Asked("POST", "/orders", "ann", key("k" * 300), why="long"),
    Asked("POST", "/orders", "ann", key("\xe4\xf6\xfc"), why="not ASCII"),
    Asked("POST", "/orders", "ann", key(""), why="empty"),
    Asked("POST", "/orders", "ann", why="without a key"),
    # Other sites
    Asked("POST", "/saml/acs", "ann", FOREIGN, {"SAMLResponse": "x"}, token=False),
    Asked("POST", "/saml/acs", "", CROSS_SITE, {"SAMLResponse": "x"}, why="cross-site"),
    Asked("POST", "/saml/acs", "", {"Origin": "null"}, {"SAMLResponse": "x"}, why="null"),
    Asked("POST", "/saml/acs", "", CROSS_SITE, why="half"),
    Asked("POST", "/payments/callback", "", FOREIGN, json={"order": 1}),
    Asked("PUT", "/payments/callback", "", SAME_SITE, json={"order": 1}),
    Asked("DELETE", "/payments/callback", "ann", CROSS_SITE, token=False),
    Asked("POST", "/tasks", "ann", CROSS_SITE, {"task": "steal"}, token=False, why="cross-site"),
    Asked("POST", "/tasks", "ann", SAME_SITE, {"task": "help"}, why="another subdomain"),
    # Errors
    Asked("GET", "/cache"),
    Asked("GET", "/cache", headers=HTML, why="as a browser"),
    Asked("GET", "/queue"),
    Asked("GET", "/teapot"),
    Asked("GET", "/broken"),
    Asked("POST", "/form", "ann", form={}),
    Asked("POST", "/form", "ann", form={"field": "value"}),
    Asked("GET", "/nowhere"),
    Asked("GET", "/nowhere", headers=HTML, why="as a browser"),
    Asked("POST", "/nowhere", "", CROSS_SITE, why="cross-site"),
    Asked("PATCH", "/me", "ann"),
    # Its own Celery app
    Asked("POST", "/letters/to-ann", "ann"),
    Asked("GET", "/letters"),
    Asked("GET", "/celery"),
    Asked("GET", "/config"),
    Asked("POST", "/logout", "ann"),
    Asked("GET", "/me", "ann", why="after the logout"),
    Asked("GET", "/cookies", "ann", why="after the logout"),
)
