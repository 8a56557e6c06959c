"""The one door for text: bytes to characters, captions as every reader may take them, and shorter forms of them."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Literal, cast

CaptionForm = Literal["given", "scene", "short", "thing"]
CAPTION_FORMS: tuple[CaptionForm, ...] = ("given", "scene", "short", "thing")
"""So that a generator also learns from prompts that say less."""

_CLAUSE = re.compile(r"[,;]")
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"
_KEPT_CONTROLS = "\t\n\r"


class TextError(ValueError):
    """Text that is not Unicode; the message says what to do."""


def decode_text(data: bytes) -> str:
    """The characters of UTF-8 with or without its mark, or UTF-16 with its mark; ``TextError`` for all else."""
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise TextError(
            f"text: got byte 0x{data[error.start]:02x} at {error.start}, which is not {encoding[:6].upper()}; "
            "save the file as UTF-8"
        ) from error


def clean_text(text: str) -> str:
    """A caption in composed form (NFC), without controls or blank ends; ``TextError`` for half a character."""
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
    text = "".join(one for one in whole if unicodedata.category(one) != "Cc" or one in _KEPT_CONTROLS)
    before = None
    while before != text:
        before, text = text, text.strip().strip(_INVISIBLE)
    return text


def caption_in_form(caption: str, form: CaptionForm) -> str:
    """A caption, such as "STYLE of NOUN PHRASE[, clauses][; keywords]", in one of its forms.

    "given" is as it is; "scene" leaves out style and keywords; "short" ends at the first comma or semicolon; "thing"
    is the noun phrase alone.
    """
    return {"given": str, "scene": scene, "short": short, "thing": thing}[form](caption)


def checked_forms(names: Sequence[str]) -> tuple[CaptionForm, ...]:
    """Names of caption forms, each once; ``ValueError`` for an unknown or repeated form, or none."""
    if not names or len(set(names)) != len(names) or not set(names) <= set(CAPTION_FORMS):
        raise ValueError(
            f"captions: got {', '.join(names) or 'no form'}; expected some of {', '.join(CAPTION_FORMS)}, each once"
        )
    return cast(tuple[CaptionForm, ...], tuple(names))


def scene(caption: str) -> str:
    """What is seen, without style and keywords: "a red apple, on a teal background"."""
    text = caption.partition(";")[0].strip()
    return thing(text) + text[len(short(text)) :]


def short(caption: str) -> str:
    """Up to the first comma or semicolon: style and thing, without colours, background and keywords."""
    return _CLAUSE.split(caption)[0].strip()


def thing(caption: str) -> str:
    """The noun phrase after the first "of": "a flat icon of a red apple, ..." -> "a red apple"."""
    phrase = short(caption)
    _, found, rest = phrase.partition(" of ")
    return rest if found else phrase
