"""Shorter forms of a caption, so that a generator also learns from prompts that say less."""

import re
from typing import Literal

CaptionForm = Literal["given", "scene", "short", "thing"]
CAPTION_FORMS: tuple[CaptionForm, ...] = ("given", "scene", "short", "thing")

_CLAUSE = re.compile(r"[,;]")


def caption_in_form(caption: str, form: CaptionForm) -> str:
    """A caption in one of its forms.

    Args:
        caption: of the form "STYLE of NOUN PHRASE[, clauses][; keywords]" or any other.
        form: "given" is as it is; "scene" leaves out style and keywords; "short" ends at the first comma or
            semicolon; "thing" is the noun phrase alone.

    Raises:
        ValueError: for an unknown form.
    """
    forms = {"scene": scene, "short": short, "thing": thing}
    if form == "given":
        return caption
    if form not in forms:
        raise ValueError(f"captions: got form {form!r}, expected some of {', '.join(CAPTION_FORMS)}")
    return forms[form](caption)


def scene(caption: str) -> str:
    """What is seen, without style and keywords: "a red apple, on a teal background"."""
    return _after_of(caption.partition(";")[0].strip())


def short(caption: str) -> str:
    """Up to the first comma or semicolon: style and thing, without colours, background and keywords."""
    return _CLAUSE.split(caption)[0].strip()


def thing(caption: str) -> str:
    """The noun phrase after the first "of": "a flat icon of a red apple, ..." -> "a red apple"."""
    return _after_of(short(caption))


def _after_of(phrase: str) -> str:
    _, found, rest = phrase.partition(" of ")
    return rest if found else phrase
