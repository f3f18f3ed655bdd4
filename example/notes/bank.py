"""The payment service: another system, with a database of its own that no transaction of ours reaches.

How it answers depends on the card, as with the test cards of real services.
"""

import sqlite3
import time
import uuid
from contextlib import closing

from django.conf import settings

#: Seconds that a payment takes.
USUAL, SLOW = 0.01, 1.5 * settings.PACE

_TABLES = """
    create table if not exists call (number integer not null);
    create table if not exists payment (number integer not null, amount integer not null, key text unique, receipt text)
"""


class CardDeclined(Exception):
    """For good: trying again does not help."""


def path():
    return settings.HOME / "bank.sqlite3"


def _connect():
    bank = sqlite3.connect(path(), timeout=20, isolation_level=None)
    bank.execute("pragma synchronous = off")
    return bank


def open_bank():
    with closing(_connect()) as bank:
        bank.execute("pragma journal_mode = wal")
        bank.executescript(_TABLES)


def charge(number: int, amount: int, card: str, key: str | None = None) -> str:
    """Charge a card and return the receipt; a call with the key of an earlier one gets that one's.

    Raises:
        CardDeclined: The card "declined".
        ConnectionError: The card "busy", in the first call: nothing was charged.
        TimeoutError: The card "timeout", in the first call: it was charged, only the answer is lost.
    """
    with closing(_connect()) as bank:
        bank.execute("insert into call values (?)", [number])
        first = bank.execute("select count(*) from call where number = ?", [number]).fetchone() == (1,)
        if card == "declined":
            raise CardDeclined(f"Order {number}: the card was declined.")
        if card == "busy" and first:
            raise ConnectionError("The payment service is busy.")
        receipt = _pay(bank, number, amount, key)
    time.sleep(SLOW if card == "slow" else USUAL)
    if card == "timeout" and first:
        raise TimeoutError("The payment service did not answer in time.")
    return receipt


def _pay(bank: sqlite3.Connection, number: int, amount: int, key: str | None) -> str:
    receipt = uuid.uuid4().hex
    bank.execute("insert or ignore into payment values (?, ?, ?, ?)", [number, amount, key, receipt])
    known = bank.execute("select receipt from payment where key = ?", [key]).fetchone()
    return known[0] if known else receipt
