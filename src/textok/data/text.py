"""The one door for text: bytes to characters, and captions as every reader may take them."""

import unicodedata

_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"
_KEPT_CONTROLS = "\t\n\r"


class TextError(ValueError):
    """Text that is not Unicode; the message says what to do."""


def decode_text(data: bytes) -> str:
    """The characters of a text file: UTF-8 with or without its mark, or UTF-16 with its mark.

    Raises:
        TextError: for any other encoding.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise TextError(
            f"text: got byte 0x{data[error.start]:02x} at {error.start}, which is not {encoding[:6].upper()}; "
            "save the file as UTF-8"
        ) from error


def clean_text(text: str) -> str:
    """A caption in composed form (NFC), without control characters and without blanks at its ends; "" for none.

    Raises:
        TextError: for half a character (a lone surrogate), which no encoding can store.
    """
    if text.isascii() and text.isprintable():
        return text.strip()
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TextError(
            f"text: got half a character, {text[error.start]!r} at {error.start} of {text[:40]!r}; "
            "expected whole ones: it was cut inside of an emoji, so remove the rest of it"
        ) from error
    whole = unicodedata.normalize("NFC", text)
    kept = "".join(one for one in whole if unicodedata.category(one) != "Cc" or one in _KEPT_CONTROLS)
    return _stripped(kept)


def _stripped(text: str) -> str:
    before = None
    while before != text:
        before, text = text, text.strip().strip(_INVISIBLE)
    return text
