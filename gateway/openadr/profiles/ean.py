"""Identifiers that profiles name things with: EAN codes with their check digit (GS1 General Specifications, section 7.9)."""

import re

_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_EMI3 = re.compile(r"[A-Z]{2}-?[A-Z0-9]{3}")


def check_digit(body: str) -> int:
    """Return the check digit of an EAN without it: digits from the right weigh 3, 1, 3, ..., the sum is filled up to tens.

    Args:
        body: The digits before the check digit, `0` to `9` only.
    """
    weighted = sum(int(digit) * (3 if index % 2 == 0 else 1) for index, digit in enumerate(reversed(body)))
    return -weighted % 10


def is_digits(text: str, length: int) -> bool:
    """Tell whether a text is exactly so many digits of the Latin script."""
    return len(text) == length and text.isascii() and text.isdecimal()


def is_ean(text: str, length: int) -> bool:
    """Tell whether a text is an EAN of a length with a right check digit."""
    return is_digits(text, length) and check_digit(text[:-1]) == int(text[-1])


def is_uuid(text: str) -> bool:
    """Tell whether a text is a UUID in its usual spelling."""
    return _UUID.fullmatch(text) is not None


def is_emi3(text: str) -> bool:
    """Tell whether a text is an operator id of eMI3: country and three characters, `NLABC` or `NL-ABC`."""
    return _EMI3.fullmatch(text) is not None
