"""What a judge reads in pictures, and which facts of their scenes it confirms."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from research.judge.network import Answers, Judge
from research.judge.vocabulary import COLOURS, GROUNDS, cell_centers
from textok.data.scenes.facts import BORDERS, GRID, Facts, Thing

KINDS = ("thing", "colour", "place", "count", "background")
"""The kinds of facts that are judged."""

TOP = 5
"""A thing is right when its concept is among so many, of the whole list, where the judge sees it most."""

_LEAST = 0.2  # a cell votes for a copy when its probability is at least this share of the best cell's


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """One fact of a picture.

    Attributes:
        picture: index of the picture.
        number: of the thing in the scene; None for the background.
        kind: one of ``KINDS``.
        right: whether the judge reads the same.
    """

    picture: int
    number: int | None
    kind: str
    right: bool


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the judge reads of one concept in a picture: its rank where it is seen most, colour, place and count."""

    rank: int
    colours: frozenset[str]
    place: str
    count: int


class Reader:
    """Reads one picture's answers.

    Args:
        answers: of a batch.
        row: of the picture.
        concepts: the judge's list.
    """

    def __init__(self, answers: Answers, row: int, concepts: Sequence[str]) -> None:
        self.logits = answers.concept[row]
        self.probabilities = self.logits.softmax(1)
        self.colours, self.shape = answers.colours[row], answers.shape[row]
        self.grounds = frozenset(GROUNDS[i] for i in answers.grounds[row].argmax(1).tolist())
        self.concepts = concepts

    def seen(self, concept: str, names: int) -> Seen:
        """What is read of a concept, its colour by so many names."""
        number = self.concepts.index(concept)
        values = self.probabilities[:, number]
        best = int(values.argmax())
        rank = int((self.logits[best, :-1] >= self.logits[best, number]).sum()) - 1
        centers, weights = self._copies(values)
        middle = (centers * weights[:, None]).sum(0) / weights.sum() if len(centers) > 1 else centers[0]
        votes = self.colours[values >= _LEAST * values.max()].mean(0)
        return Seen(
            rank=rank,
            colours=frozenset(COLOURS[i] for i in votes.topk(names).indices.tolist()),
            place=_place(middle),
            count=len(centers),
        )

    def _copies(
        self, values: Float[Tensor, "cells"]
    ) -> tuple[Float[Tensor, "copies 2"], Float[Tensor, "copies"]]:
        """Middles of the copies, in 512ths, each the mean of the cells that agree on it; all weigh the same."""
        voting = values >= _LEAST * values.max()
        centers = cell_centers()[voting] + self.shape[voting, :2] * GRID
        sides, strength = self.shape[voting, 2] * GRID, values[voting]
        copies = []
        while len(centers):
            first = int(strength.argmax())
            near = (centers - centers[first]).abs().amax(1) < 0.45 * sides[first].clamp(min=32)
            near[first] = True
            copies.append(centers[near].mean(0))
            centers, sides, strength = centers[~near], sides[~near], strength[~near]
        return torch.stack(copies), torch.ones(len(copies))


def _place(middle: Float[Tensor, "2"]) -> str:
    x, y = middle.tolist()
    across = "left" if x < BORDERS[0] else "right" if x > BORDERS[1] else ""
    along = "top" if y < BORDERS[0] else "bottom" if y > BORDERS[1] else ""
    return f"{along} {across}".strip() or "center"


def confirm(judge: Judge, images: UInt8[Tensor, "n 3 h w"], scenes: Sequence[Facts]) -> list[Confirmed]:
    """Ask a judge for every fact of the scenes that the pictures should show.

    Things whose concept is not in the judge's list are not asked for, nor is what is ambiguous: colour, place and count
    of two things of one concept, and the place of scattered copies.

    Args:
        judge: on the CPU, as the pictures are.
        images: one for each scene.
        scenes: what they should show.
    """
    facts: list[Confirmed] = []
    for start in range(0, len(scenes), 64):
        with torch.inference_mode():
            answers = judge(images[start : start + 64])
        for row, scene in enumerate(scenes[start : start + 64]):
            facts += _confirm(Reader(answers, row, judge.concepts), start + row, scene)
    return facts


def accuracy(facts: Sequence[Confirmed]) -> dict[str, float]:
    """Share of confirmed facts of each kind that was asked for, and "facts", the mean of these shares."""
    groups = {kind: [fact.right for fact in facts if fact.kind == kind] for kind in KINDS}
    shares = {kind: sum(group) / len(group) for kind, group in groups.items() if group}
    return shares | {"facts": sum(shares.values()) / max(1, len(shares))}


def _confirm(reader: Reader, picture: int, scene: Facts) -> list[Confirmed]:
    concepts = [thing.concept for thing in scene.things]
    facts = [Confirmed(picture=picture, number=None, kind="background", right=_is_ground(reader, scene))]
    for number, thing in enumerate(scene.things):
        if thing.concept in reader.concepts:
            asked = _asked(reader, thing, ambiguous=concepts.count(thing.concept) > 1)
            facts += [
                Confirmed(picture=picture, number=number, kind=kind, right=r) for kind, r in asked.items()
            ]
    return facts


def _is_ground(reader: Reader, scene: Facts) -> bool:
    return reader.grounds == frozenset(scene.background.names)


def _asked(reader: Reader, thing: Thing, *, ambiguous: bool) -> dict[str, bool]:
    names = frozenset(filter(None, thing.colour.split(" and ")))
    seen = reader.seen(thing.concept, max(1, len(names)))
    asked = {"thing": seen.rank < TOP}
    if ambiguous:
        return asked
    if names:
        asked["colour"] = seen.colours == names
    if thing.arrangement != "scattered":
        asked["place"] = seen.place == thing.place
    return asked | {"count": seen.count == thing.count}
