"""Masks for secrets in logs and saved files; their values never leave the process."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "***"
SECRET = re.compile(r"api_?key|access_?key|private_?key|token|passw(or)?d|passphrase|secret|credential", re.IGNORECASE)
# user:password@ in an address, such as that of a database
LOGIN = re.compile(r"(?<=://)[^/\s@]*:[^/\s@]*(?=@)")


def masked(values: Any, key: str = "") -> Any:
    """Copy plain values with `***` in place of values whose key names a secret, and of logins in addresses.

    Args:
        values: nested dicts and lists of plain values.
        key: the key that holds them.
    """
    if SECRET.search(key) and values is not None:
        return MASK
    if isinstance(values, Mapping):
        return {name: masked(value, str(name)) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [masked(value) for value in values]
    return LOGIN.sub(MASK, values) if isinstance(values, str) else values


def masked_words(words: Iterable[str]) -> list[str]:
    """Mask the secrets in words of a command line."""
    return [masked_word(word) for word in words]


def masked_word(word: str) -> str:
    """Mask the secrets in a word of a command line; in `a={api_key: x}` all that follows the `=`."""
    key, is_setting, value = word.partition("=")
    if is_setting and (SECRET.search(key) or SECRET.search(value)):
        return f"{key}={MASK}"
    return LOGIN.sub(MASK, word)
