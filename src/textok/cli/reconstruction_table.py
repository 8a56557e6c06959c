"""The scores of a reconstruction result as a table in the terminal."""

from collections.abc import Mapping, Sequence

from textok.cli.output import score_table, shown
from textok.evaluation.results import Row

# Headings in the terminal by how a metric's name begins, and by how it ends.
_HEADS = {"psnr": "psnr", "ssim": "ssim", "perceptual_": "perceptual", "fd_": "fd", "fid": "fid"}
_ENDS = {"_unpaired": " unpaired", "_floor": " floor"}
_PLACE = {"split": "split", "captions": "captions", "budget": "tokens"}

# How well the pictures fit their captions, in a table of its own.
_MEANING = {
    "retrieval_two_tower": "retrieval",
    "alignment_two_tower": "alignment",
    "retrieval_class_posterior": "retrieval by classes",
    "alignment_class_posterior": "alignment by classes",
    "posterior_agreement": "agreement",
    "top1_agreement": "same class",
}
_MEANING_NOTE = """Does the reconstruction still show what its caption says? Value / that of the originals, the best to
hope for. For drawings read retrieval and alignment (by the two-tower head), for photographs those by classes. Where
even the originals retrieve few captions, ignore that judge. Agreement and
same class compare a classifier on the reconstruction with the same on the original."""


def reconstruction_table(rows: Sequence[Row]) -> str:
    """The main scores of a reconstruction result, one line per split, caption condition and budget."""
    heads = _PLACE | {"count": "count"} | _headings(rows, _HEADS)
    legend = [f"{head} = {name}" for name, head in heads.items() if head != name and "_" in name]
    blocks = [score_table(rows, heads), "\n".join(legend)]
    meaning = _headings(rows, _MEANING)
    if any("_agreement" in name for name in meaning):
        beside = [{name: _beside(row, name) for name in row} for row in rows]
        blocks += [_MEANING_NOTE, score_table(beside, _PLACE | meaning)]
    return "\n\n".join(blocks)


def _headings(rows: Sequence[Row], starts: Mapping[str, str]) -> dict[str, str]:
    """A heading for every metric whose name has one of these beginnings, in their order."""
    names = dict.fromkeys(name for row in rows for name in row)
    shown_names = [name for name in names if "_pca" not in name and not name.endswith("_original")]
    return {
        name: head + next((words for end, words in _ENDS.items() if name.endswith(end)), "")
        for start, head in starts.items()
        for name in shown_names
        if name.startswith(start)
    }


def _beside(row: Row, name: str) -> str | int | float:
    """A value, with that of the originals where there is one."""
    ceiling = row.get(f"{name}_original")
    return row[name] if ceiling is None else f"{shown(row[name])} / {shown(ceiling)}"
