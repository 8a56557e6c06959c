"""Whether what a model wrote is a caption: what can be mended is mended, the rest is named."""

import re
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch.nn.functional import normalize

from textok.captioning.writers import Answer
from textok.evaluation.alignment import ClassPosterior, caption_features
from textok.models.text_encoder import TextEncoder

MAX_CHARACTERS = 4000
_LEAKED_WORDS = 7  # so many words in a row of the prompt are no chance
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")

_SUBJECT = r"(?:image|picture|photo(?:graph)?|drawing|illustration|painting|scene|icon)"
_SHOWS = (
    r"(?:shows?|depicts?|features?|displays?|presents?|portrays?|captures?|contains?|is (?:of|a photo of)|"
    r"appears to (?:show|depict)|you (?:can )?see|we (?:can )?see|there (?:is|are))"
)
_PREAMBLES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?:sure|certainly|of course|absolutely|okay)[!,.:]+\s*",
        r"(?:here is|here's|below is)[^:.\n]{0,80}[:]\s*",
        r"(?:image |picture )?(?:caption|description|answer|alt text)\s*:\s*",
        rf"(?:in )?(?:the|this|an?) {_SUBJECT}\s*,?\s*{_SHOWS}\s*(?:that\s+)?",
        rf"in (?:the|this) {_SUBJECT}\s*,\s*",
        r"(?:we|you) (?:can )?see (?=an? |the |two |three |several )",
    )
]
_REFUSAL = re.compile(
    r"(?:i(?:'|’)?m (?:very |so )?(?:sorry|unable|not able)|i am (?:sorry|unable|not able)|sorry[,.]|i apologi[sz]e|"
    r"i (?:can(?:'|’)?t|cannot|can not|won(?:'|’)t|do not|don(?:'|’)t) (?:see|view|help|assist|describe|provide|"
    r"identify|process|access|comply)|as an ai|unfortunately,? i|no image (?:was|is|has been) (?:provided|attached)|"
    r"(?:please|could you) (?:provide|upload|attach|share) (?:the|an|a) (?:image|picture))",
    re.IGNORECASE,
)
_THOUGHT = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>\s*", re.DOTALL | re.IGNORECASE)
_EMPHASIS = re.compile(r"(\*\*|__|\*|`)(?=\S)(.+?)(?<=\S)\1")
_MARKUP = re.compile(
    r"```|<\|?/?[a-z][\w|/ =\"'-]*>|^\s*(?:#{1,6}|[-*•]|\d+[.)]) |\[/?INST\]|\]\(|^\s*[{\[].*[}\]]\s*$",
    re.IGNORECASE | re.MULTILINE,
)
_QUOTES = (('"', '"'), ("“", "”"), ("'", "'"), ("«", "»"))

_ENGLISH = frozenset(
    _WORD.findall("a an the of in on at with and or is are was to by for from as its it this that there near")
)
_FOREIGN = frozenset(
    _WORD.findall(
        "der die das ein eine einem einen und ist mit auf im dem den le les un une des et est dans avec sur aux el los "
        "las una y es en con sobre del il lo gli di e nel della uma um o os com no na het een van op met och ett med "
        "på av jest z w się bir ve ile"
    )
)


def judge(answer: Answer, *, prompt: str = "", language: str = "english") -> Answer:
    """The answer with its text mended, or with the reason why that is no caption, in the language "english" or "any".

    The words of ``prompt`` are its own, without those that came with the picture.
    """
    if answer.finish not in ("stop", "length"):
        return replace(answer, failure=f"stopped: {answer.finish}"[:40])
    if len(answer.text) > 4 * MAX_CHARACTERS:  # before any pattern walks through it
        return replace(answer, failure="too long")
    caption, changes = mend(answer.text)
    failure = _fault(caption, finish=answer.finish, prompt=prompt, language=language)
    text = caption if failure is None else answer.text
    return replace(answer, text=text, failure=failure, changes=(*answer.changes, *changes))


def mend(text: str) -> tuple[str, tuple[str, ...]]:
    """An answer without thoughts, emphasis, preamble, quotation marks around it and runs of white space."""
    steps = (
        ("thought", lambda s: _THOUGHT.sub("", s)),
        ("emphasis", lambda s: _EMPHASIS.sub(r"\2", s)),
        ("preamble", _without_preamble),
        ("quotes", _without_quotes),
    )
    text, changes = printable(text), []
    for name, step in steps:
        mended = step(text.strip())
        if mended != text.strip():
            changes.append(name)
        text = mended
    lines = [" ".join(line.split()) for line in text.splitlines()]
    is_list = _MARKUP.search(text) is not None
    return ("\n" if is_list else " ").join(line for line in lines if line), tuple(changes)


def printable(text: str) -> str:
    """A text that every file takes: a question mark for half a character, no control characters."""
    text = text.encode(errors="replace").decode()
    return "".join(c for c in text if c.isprintable() or c in "\n\t")


def _fault(caption: str, *, finish: str, prompt: str, language: str) -> str | None:
    words, asked = ([word.lower() for word in _WORD.findall(text)] for text in (caption, prompt))
    leaked = {*_runs(words, _LEAKED_WORDS)} & {*_runs(asked, _LEAKED_WORDS)}
    checks = (
        ("empty", not words),
        ("refusal", _REFUSAL.match(caption) is not None),
        ("too long", len(caption) > MAX_CHARACTERS),
        ("repeats", _repeats(words)),
        ("cut off", finish == "length"),
        ("markup", _MARKUP.search(caption) is not None or "\ufffd" in caption),
        ("leaked prompt", bool(leaked)),
        ("wrong language", language == "english" and not is_english(caption)),
    )
    return next((name for name, applies in checks if applies), None)


def is_english(text: str) -> bool:
    """Whether a text may be English: by its letters, and by the small words of a longer one."""
    letters = [c for c in text if c.isalpha()]
    if letters and sum(c.isascii() for c in letters) < 0.85 * len(letters):
        return False
    counts = Counter(word.lower() for word in _WORD.findall(text))
    english, foreign = (sum(counts[word] for word in small) for small in (_ENGLISH, _FOREIGN - _ENGLISH))
    return foreign < 2 or foreign <= english


def _without_quotes(text: str) -> str:
    inner = text[1:-1]
    is_quoted = len(text) > 2 and (text[0], text[-1]) in _QUOTES
    return text if not is_quoted or text[0] in inner or text[-1] in inner else inner.strip()


def _without_preamble(text: str) -> str:
    start = text
    for pattern in _PREAMBLES:
        text = pattern.sub("", text, count=1) if pattern.match(text) else text
    return text if text == start else text[:1].upper() + text[1:]


def _repeats(words: Sequence[str]) -> bool:
    """A word four times in a row, or a run of three words five times where that is much of the text."""
    if any(len(set(run)) == 1 for run in _runs(words, 4)):
        return True
    most = max(Counter(_runs(words, 3)).values(), default=0)
    return most >= 5 or (most >= 3 and 3 * most >= 0.4 * len(words))


def _runs(words: Sequence[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]


class Agreement:
    """Compares a caption with its known words, and with the names of all ImageNet classes as a measure.

    The encoder is MiniLM, which comes with the package; the score is the cosine of mean token states. A caption
    contradicts when the share ``quantile`` of the class names fits it better than its known words.
    """

    def __init__(self, quantile: float) -> None:
        self._quantile = quantile
        self._text = TextEncoder.from_pretrained("minilm")
        self._classes = ClassPosterior.imagenet(text=self._text).classes
        self._one_at_a_time = threading.Lock()

    def contradicts(self, caption: str, known: Sequence[str]) -> bool:
        """Whether the known words fit the caption worse than that quantile of the class names."""
        with self._one_at_a_time, torch.inference_mode():
            features = normalize(caption_features([caption, "; ".join(known)], text=self._text), dim=1)
        usual = torch.quantile(self._classes @ features[0], self._quantile)
        return bool(features[0] @ features[1] < usual)
