"""A user is created, and welcomed by a mail that is sent once the user is really there.

What a name looks like is for looks.py.
"""

from typing import Any

from celery import shared_task
from celery.result import AsyncResult
from flask import Blueprint, Flask
from sqlalchemy import ForeignKey, String, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column, relationship
from werkzeug.exceptions import Conflict, HTTPException
from werkzeug.wrappers import Response

from examples.database import Model, db
from examples.limits import mail_limit
from examples.looks import composed, folded, is_visible
from examples.mail import MailTask, deliver, mail_address
from flask_longtask import BadField, NotQueued, accepted, fields, openapi, started_before

#: Characters of a username.
LONGEST_NAME = 64

bp = Blueprint("users", __name__)


class User(Model):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(LONGEST_NAME), unique=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    identifiers: Mapped[list["Identifier"]] = relationship(cascade="all, delete-orphan")


class Identifier(Model):
    """By what a name or an address is compared, so that two which look the same are one.

    A table of its own, since those of users are there already, with such users in them perhaps.
    """

    __tablename__ = "user_identifiers"

    kind: Mapped[str] = mapped_column(String(8), primary_key=True)
    value: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)


def _identifiers(username: str, email: str) -> list[Identifier]:
    return [
        Identifier(kind="username", value=folded(username)),
        # The part before the @ may differ by its case in theory (RFC 5321, 2.4), and does nowhere in practice.
        Identifier(kind="email", value=folded(email)),
    ]


@shared_task(bind=True, base=MailTask)
def send_welcome(self: MailTask, user_id: int) -> dict[str, Any]:
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
    username, address = _username(), mail_address("email")
    email = address.ascii_email or address.normalized
    user = User(username=username, email=email, identifiers=_identifiers(username, email))
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
    name = composed(value) if isinstance(value, str) else ""
    if not 1 <= len(name) <= LONGEST_NAME or not is_visible(name):
        raise BadField(
            "username",
            f"must have 1 to {LONGEST_NAME} characters, all of them printable and visible.",
        )
    return name


def init_app(app: Flask) -> None:
    """Note the identifiers of users whom an older version has created. Of two who look the same one has them."""
    with app.app_context():
        noted = select(func.count()).where(Identifier.user_id == User.id).scalar_subquery()
        users = select(User.id, User.username, User.email)
        older = db.session.execute(users.where(noted < len(_identifiers("", "")))).all()
        db.session.rollback()
        for user_id, username, email in older:
            for identifier in _identifiers(username, email):
                identifier.user_id = user_id
                db.session.add(identifier)
                try:
                    db.session.commit()
                except IntegrityError:
                    db.session.rollback()
        db.session.remove()
        db.engine.dispose()  # as in database.py
