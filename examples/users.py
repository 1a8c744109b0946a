"""Creates a user, and sends a welcome mail once the database has committed.

looks.py compares names.
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

#: Maximum number of characters of a username.
LONGEST_NAME = 64

bp = Blueprint("users", __name__)


class User(Model):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(LONGEST_NAME), unique=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    identifiers: Mapped[list["Identifier"]] = relationship(cascade="all, delete-orphan")


class Identifier(Model):
    """The normal form of a username or an address, so that two users cannot have names that look the same.

    It has its own table, since existing users tables may already have such users.
    """

    __tablename__ = "user_identifiers"

    kind: Mapped[str] = mapped_column(String(8), primary_key=True)
    value: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)


def _identifiers(username: str, email: str) -> list[Identifier]:
    return [
        Identifier(kind="username", value=folded(username)),
        # In theory the part before the @ is case-sensitive (RFC 5321, 2.4), but no mail server treats it so.
        Identifier(kind="email", value=folded(email)),
    ]


@shared_task(bind=True, base=MailTask)
def send_welcome(self: MailTask, user_id: int) -> dict[str, Any]:
    user = db.session.get(User, user_id)
    if user is None:
        raise LookupError("The user no longer exists")
    recipient, name = user.email, user.username
    db.session.close()  # frees the database connection, since a mail server may be slow
    return deliver(
        self,
        recipient,
        subject="Welcome",
        body=f"Hello {name},\n\nyou are a user of Longtask now.\n",
    )


@bp.post("/users")
@openapi.documented(
    openapi.starts(
        "Create a user and send a welcome mail",
        required=("username", "email"),
        conflict="A user with this name or address already exists.",
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
    mail_limit.count()
    return accepted(_insert_and_welcome(user))


def _insert_and_welcome(user: User) -> AsyncResult:
    # Between the first write and the commit, nothing may wait for anything else, such as Redis. With gevent another
    # request would run meanwhile and block the process in its wait for the same database, so this one could not finish.
    db.session.add(user)
    try:
        db.session.flush()
    except IntegrityError:
        db.session.rollback()
        raise Conflict("A user with this name or address already exists.") from None
    welcome = send_welcome.delay_on_commit(user.id)
    try:
        db.session.commit()
    except (NotQueued, HTTPException):
        # The user was committed, but the client gets an error and may try again. Then the user must not exist.
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
    """Add the identifiers of users that an older version has created. If two users look the same, one gets them."""
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
