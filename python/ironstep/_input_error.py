"""What is wrong with the input, in one line."""

import unicodedata


class InputError(ValueError):
    """What was given cannot be used; the message is one line that says why."""


def plain(text: object) -> str:
    """Return a text without what would break a line or hide: control and format characters."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(letter) in ("Cc", "Cf", "Cs")
        else letter
        for letter in str(text)
    )


def shown(text: object) -> str:
    """Return a text of the input as an error message quotes it."""
    text = plain(text)
    return repr(text if len(text) <= 60 else text[:59] + "…")
