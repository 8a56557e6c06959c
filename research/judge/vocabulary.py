"""The lists that the judge chooses from, and what it should say in each cell of a scene's picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from textok.data.scenes.colours import BACKGROUNDS, NAMES
from textok.data.scenes.drawings import Drawings
from textok.data.scenes.facts import GRID, Facts, Thing, square

CELLS = 16
"""Cells along a side of the picture; each is 8 pixels of 128."""

COLOURS = tuple(NAMES)
GROUNDS = tuple(BACKGROUNDS)

_CENTERS = (torch.arange(CELLS) * 2 + 1) * GRID / (2 * CELLS)


def concepts_of(drawings: Drawings) -> tuple[str, ...]:
    """The concepts that the usable drawings show, sorted."""
    return tuple(sorted({drawings.rows[place].concept for place in drawings.usable}))


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What a judge should say of ``b`` pictures, cell by cell, row by row.

    Attributes:
        concept: index of the concept whose square covers the middle of the cell; the list's length for none.
        colours: 1 for each name of the covering thing's colour, in the order of ``COLOURS``.
        has_colour: whether the covering thing has a colour.
        shape: from the middle of the cell to the middle of the copy (x, y), and its side, in sides of the picture.
        grounds: index of the first and of the last colour of the background, in the order of ``GROUNDS``.
    """

    concept: Int[Tensor, "b cells"]
    colours: Float[Tensor, "b cells names"]
    has_colour: Float[Tensor, "b cells"]
    shape: Float[Tensor, "b cells 3"]
    grounds: Int[Tensor, "b 2"]

    @classmethod
    def of(cls, scenes: Sequence[Facts], concepts: Sequence[str]) -> "Targets":
        """The targets of scenes whose concepts are all in the list."""
        number = {concept: i for i, concept in enumerate(concepts)}
        cells = CELLS * CELLS
        concept = torch.full((len(scenes), cells), len(concepts))
        colours = torch.zeros(len(scenes), cells, len(COLOURS))
        has_colour = torch.zeros(len(scenes), cells)
        shape = torch.zeros(len(scenes), cells, 3)
        for row, facts in enumerate(scenes):
            for thing in facts.things:  # later things lie over earlier ones
                for center in thing.centers:
                    covered = _covered(center, thing.side)
                    concept[row, covered] = number[thing.concept]
                    colours[row, covered] = colour_vector(thing)
                    has_colour[row, covered] = float(bool(thing.colour))
                    shape[row, covered] = _shape(center, thing.side)[covered]
        grounds = [[GROUNDS.index(facts.background.names[i]) for i in (0, -1)] for facts in scenes]
        return cls(
            concept=concept,
            colours=colours,
            has_colour=has_colour,
            shape=shape,
            grounds=torch.tensor(grounds),
        )


def colour_vector(thing: Thing) -> Float[Tensor, "names"]:
    """1 for each name of the thing's colour."""
    names = thing.colour.split(" and ")
    return torch.tensor([float(name in names) for name in COLOURS])


def cell_centers() -> Float[Tensor, "cells 2"]:
    """The middles of the cells (x, y), in 512ths, row by row."""
    y, x = torch.meshgrid(_CENTERS, _CENTERS, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


def _covered(center: tuple[int, int], side: int) -> Tensor:
    left, top, right, bottom = square(center, side)
    x, y = cell_centers().unbind(1)
    return (x >= left) & (x < right) & (y >= top) & (y < bottom)


def _shape(center: tuple[int, int], side: int) -> Float[Tensor, "cells 3"]:
    offset = torch.tensor(center) - cell_centers()
    return torch.cat([offset, torch.full((len(offset), 1), float(side))], dim=1) / GRID
