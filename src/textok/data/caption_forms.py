"""Shorter forms of a caption, so that a generator also learns from prompts that say less."""

import re
from collections.abc import Sequence
from typing import Literal, cast

CaptionForm = Literal["given", "scene", "short", "thing"]
CAPTION_FORMS: tuple[CaptionForm, ...] = ("given", "scene", "short", "thing")

_CLAUSE = re.compile(r"[,;]")


def caption_in_form(caption: str, form: CaptionForm) -> str:
    """A caption in one of its forms.

    Args:
        caption: of the form "STYLE of NOUN PHRASE[, clauses][; keywords]" or any other.
        form: "given" is as it is; "scene" leaves out style and keywords; "short" ends at the first comma or
            semicolon; "thing" is the noun phrase alone.
    """
    return {"given": str, "scene": scene, "short": short, "thing": thing}[form](caption)


def checked_forms(names: Sequence[str]) -> tuple[CaptionForm, ...]:
    """Names of caption forms, each once.

    Raises:
        ValueError: for an unknown or repeated form, or none.
    """
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
