"""Pictures that a list names: the common ground of COCO annotations, Places365 lists and bare folders."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from textok.data.files import fingerprint_files, listing
from textok.data.records import Fields, RecordError
from textok.data.samples import BadSample, BadSampleError, RawSample
from textok.data.sources.folder import find_pictures, read_image_file

SPLIT_FOLDERS = ("train", "val", "valid", "validation", "test")
"""Names that folders of a class tree have when they are splits, not classes."""


class ListedSource:
    """Pictures by their names below a folder, with captions and labels known beforehand.

    Args:
        root: the folder.
        names: paths below it, with forward slashes.
        captions: the captions of each.
        labels: the class of each; None when there are no classes.
        listed_in: the file that lists them; the folder itself when it was walked.
    """

    max_window = None

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        *,
        captions: Sequence[tuple[str, ...]],
        labels: Sequence[int] | None,
        listed_in: Path,
    ) -> None:
        self._root, self._names, self._captions, self._labels = root, names, captions, labels
        self._listed_in = listed_in
        self.shard_lengths = [len(names)]
        files = [listed_in] if listed_in.is_file() else [root / name for name in names]
        self.fingerprint = fingerprint_files(files, len(names))

    def __len__(self) -> int:
        return len(self._names)

    def read(self, index: int) -> RawSample:
        """The sample at ``index``, not decoded.

        Raises:
            BadSampleError: when the picture is missing, oversized, or named outside of the folder.
        """
        name = PurePosixPath(self._names[index])
        key, shard = str(name.with_suffix("")), str(self._listed_in)
        try:
            if name.is_absolute() or ".." in name.parts:
                raise RecordError(
                    f"the picture is named {str(name)!r:.80}; expected a file inside {self._root}"
                )
            image = read_image_file(self._root / name)
        except RecordError as error:
            raise BadSampleError(BadSample(key=key, shard=shard, reason=str(error))) from error
        label = None if self._labels is None else int(self._labels[index])
        return RawSample(key=key, shard=shard, image=image, captions=self._captions[index], label=label)

    def captions(self) -> Iterator[str]:
        """Every caption of every sample, in order."""
        for captions in self._captions:
            yield from captions


def open_bare_folder(root: Path, *, fields: Fields) -> ListedSource | None:
    """Pictures with nothing beside them that says what they show.

    Where each lies in a folder of its class, at any depth, the class's name is the caption and its place by name
    the label: ``a/art_gallery/1.jpg`` reads "art gallery", see :func:`class_caption`. Others have neither.

    Returns:
        The source; None where there is no picture.

    Raises:
        ValueError: when the folders are splits, or fields are named, which folders do not have.
    """
    pictures = find_pictures(root)
    names = [path.relative_to(root).as_posix() for path in pictures]
    if not names:
        return None
    check_no_fields(fields, f"{root}: found {listing(pictures)} without metadata")
    parents = [name.rpartition("/")[0] for name in names]
    if not all(parents):
        return ListedSource(root, names, captions=[()] * len(names), labels=None, listed_in=root)
    splits = sorted({parent.split("/")[0] for parent in parents} & set(SPLIT_FOLDERS))
    if splits:
        raise ValueError(f"{root}: found pictures in {splits}; expected one of them as the split")
    order = {parent: number for number, parent in enumerate(sorted(set(parents)))}
    captions = {parent: (class_caption(parent),) for parent in order}
    return ListedSource(
        root,
        names,
        captions=[captions[parent] for parent in parents],
        labels=[order[parent] for parent in parents],
        listed_in=root,
    )


def class_caption(name: str) -> str:
    """A class's name in words: ``/a/art_gallery`` is "art gallery", ``a/bus_station/indoor`` and
    ``bus_station-indoor`` are "bus station indoor".

    The single letter that Places365 sorts its classes under is left out.
    """
    parts = [part for part in name.split("/") if part]
    if len(parts) > 1 and len(parts[0]) == 1:
        parts = parts[1:]
    return " ".join(" ".join(parts).replace("_", " ").replace("-", " ").split())


def check_no_fields(fields: Fields, what: str) -> None:
    """Raise ``ValueError`` when a layout without fields was asked for some by name."""
    if fields != Fields():
        raise ValueError(f"{what}, which have no fields; expected no field names, got {fields}")
