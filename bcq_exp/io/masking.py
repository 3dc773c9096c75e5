"""Secrets in what is logged: their values never leave the process."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "***"
SECRET = re.compile(r"api_?key|access_?key|private_?key|token|passw(or)?d|passphrase|secret|credential", re.IGNORECASE)
# user:password@ of an address, as a database of a study has it
LOGIN = re.compile(r"(?<=://)[^/\s@]*:[^/\s@]*(?=@)")


def masked(values: Any, key: str = "") -> Any:
    """A copy of plain values where those whose key names a secret, and logins in addresses, read `***`.

    Args:
        values: nested dicts and lists of plain values.
        key: under which they stand.
    """
    if SECRET.search(key) and values is not None:
        return MASK
    if isinstance(values, Mapping):
        return {name: masked(value, str(name)) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [masked(value) for value in values]
    return LOGIN.sub(MASK, values) if isinstance(values, str) else values


def masked_words(words: Iterable[str]) -> list[str]:
    """Words of a command line, `key=value` among them, with their secrets masked."""
    return [masked_word(word) for word in words]


def masked_word(word: str) -> str:
    """A word of a command line with its secrets masked; of `a={api_key: x}` all that follows the `=`."""
    key, is_setting, value = word.partition("=")
    if is_setting and (SECRET.search(key) or SECRET.search(value)):
        return f"{key}={MASK}"
    return LOGIN.sub(MASK, word)
