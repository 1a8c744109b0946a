"""A user is created, and welcomed by a mail that is sent once the user is really there."""

from typing import Any

from celery import shared_task
from celery.result import AsyncResult
from flask import Blueprint
from sqlalchemy import String
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.exceptions import Conflict, HTTPException
from werkzeug.wrappers import Response

from examples.database import Model, db
from examples.limits import mail_limit
from examples.mail import deliver, mail_address
from flask_longtask import BadField, NotQueued, Task, accepted, fields, openapi, started_before

#: Characters of a username.
LONGEST_NAME = 64

bp = Blueprint("users", __name__)


class User(Model):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(LONGEST_NAME), unique=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)


@shared_task(bind=True)
def send_welcome(self: Task, user_id: int) -> dict[str, Any]:
    user = db.session.get(User, user_id)
    if user is None:
        raise LookupError("There is no such user any more")
    recipient, name = user.email, user.username
    db.session.close()  # a mail server may take its time, and a database connection is not to wait for it
    return deliver(
        self,
        recipient,
        subject="Welcome",
        body=f"Hello {name},\n\nyou are a user of Longtask now.\n",
    )


@bp.post("/users")
@openapi.documented(
    openapi.starts(
        "Create a user and welcome him",
        required=("username", "email"),
        conflict="There is a user of this name or address already.",
        username={"type": "string", "minLength": 1, "maxLength": LONGEST_NAME},
        email={"type": "string", "format": "email"},
    )
)
def create() -> Response:
    if earlier := started_before():
        return accepted(earlier)
    user = User(username=_username(), email=mail_address("email").ascii_email)
    with mail_limit:
        return accepted(_insert_and_welcome(user))


def _insert_and_welcome(user: User) -> AsyncResult:
    # Between the first write and the commit nothing may wait for anything else, such as Redis: under gevent
    # another request would go on meanwhile, and wait for the same database without letting this one finish.
    db.session.add(user)
    try:
        db.session.flush()
    except IntegrityError:
        db.session.rollback()
        raise Conflict("There is a user of this name or this address already.") from None
    welcome = send_welcome.delay_on_commit(user.id)
    try:
        db.session.commit()
    except (NotQueued, HTTPException):
        # It has committed, but the client is told of an error and may try again: that must not find its own
        # user in the way.
        db.session.delete(user)
        db.session.commit()
        raise
    return welcome


def _username() -> str:
    value = fields().get("username")
    name = value.strip() if isinstance(value, str) else ""
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise BadField(
            "username", f"must have 1 to {LONGEST_NAME} characters, all of them printable."
        )
    return name
