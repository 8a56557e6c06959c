"""``textok evaluate generation``: how good generated pictures are."""

import json as json_format
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from textok.cli.checks import check_at_least, check_files, check_needs, check_seeds, check_size
from textok.cli.distributed import place, scoring_device
from textok.cli.evaluator import load_semantics
from textok.cli.picture_sets import PictureSet, open_pictures, read_captions_file
from textok.cli.reference import Reference
from textok.cli.tables import shown, text_table
from textok.cli.tested import CROP, DEFAULT_NETWORK, NetworkChoice

if TYPE_CHECKING:
    import torch

    from textok.evaluation.generation import PictureFeatures
    from textok.evaluation.metrics.semantics import Semantics
    from textok.evaluation.networks import FeatureNetwork
    from textok.evaluation.reconstruction import Row
    from textok.evaluation.results import Result


WRITE_BATCH = 64


def evaluate_generation(
    samples: Annotated[Positional[str], arg(metavar="SAMPLES")],
    network: Annotated[NetworkChoice, arg(name="")] = DEFAULT_NETWORK,
    *,
    reference: Annotated[str, arg(metavar="SOURCE")],
    reference_split: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None,
    train: Annotated[str | None, arg(metavar="SOURCE", help_behavior_hint="")] = None,
    train_split: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None,
    captions: Annotated[Path | None, arg(metavar="FILE.json", help_behavior_hint="")] = None,
    out: Annotated[Path | None, arg(metavar="FILE.json", help_behavior_hint="")] = None,
    html: Annotated[Path | None, arg(metavar="FILE.html", help_behavior_hint="")] = None,
    write_samples: Annotated[Path | None, arg(metavar="FILE.npz", help_behavior_hint="")] = None,
    write_statistics: Annotated[Path | None, arg(metavar="FILE.npz", help_behavior_hint="")] = None,
    size: Annotated[
        tuple[int, int] | None, arg(metavar="H W", help_behavior_hint="(default: that of the first sample)")
    ] = None,
    no_semantics: bool = False,
    batch_size: int = 32,
    seed: int = 0,
    device: str = "auto",
    json: bool = False,
) -> None:
    """Score generated pictures: distance to real ones, quality, coverage, captions, and copying.

    Args:
        samples: a folder of pictures (with metadata.jsonl or .txt captions), another source, or an ADM .npz.
        reference: real pictures: any source, or an ADM .npz of pictures, of mean and covariance, or of both.
        reference_split: which part of the reference, such as test-drawing.
        train: the training pictures, to find copies of them; the reference must be others.
        train_split: which part of them.
        captions: the samples' captions, a JSON object {key: caption} or a list in their order.
        out: result file: settings, the row, and the values of every picture.
        html: a page with the scores, the nearest training pictures and the samples that fit their captions least.
        write_samples: write the samples as an ADM .npz for published evaluators.
        write_statistics: write mean and covariance of their features as an ADM .npz.
        size: height and width that all pictures are resized and cropped to.
        no_semantics: leave out whether the samples show what their captions say.
        batch_size: pictures at a time.
        seed: of the floor's halves and the kernel distance's subsets.
        device: cpu, cuda, cuda:1; auto takes cuda where there is one.
        json: print the row as JSON instead of a table.
    """
    from textok.evaluation import generation
    from textok.evaluation.results import Result
    from textok.training.run_folder import environment

    check_at_least(1, batch_size=batch_size)
    check_seeds("seed", [seed])
    check_size(size)
    check_needs(absent=train is None, by="train", train_split=train_split)
    check_files(out=out, html=html, write_samples=write_samples, write_statistics=write_statistics)
    _check_place(captions, no_semantics=no_semantics)
    opened = open_pictures(
        samples, size=size, captions=None if captions is None else read_captions_file(captions)
    )
    real = Reference.open(reference, split=reference_split, size=opened.size)
    real.tell_left_out(train=train)
    known = open_pictures(train, split=train_split, size=opened.size) if train else None
    generation.check_count(len(opened))
    judged = opened.captioned and not no_semantics
    reader = FeatureReader.prepare(network, device=device, batch_size=batch_size, judged=judged)
    stored = real.statistics_for(reader.network)
    made = reader.read(opened, judged=judged)
    _write_adm(opened, made, samples=write_samples, statistics=write_statistics)
    seen = stored if real.pictures is None else reader.read(real.pictures)
    assert seen is not None
    scores = generation.evaluate_generation(
        made,
        seen,
        split=reference_split or Path(reference.rstrip("/")).stem,
        network=reader.network,
        statistics=stored,
        train=reader.read(known) if known else None,
        semantics=reader.semantics,
        seed=seed,
    )
    settings = reader.settings | _settings(opened, real, known, stored=stored is not None)
    settings |= {"size": list(opened.size), "seed": seed}
    _write(Result(settings=settings, made_by=environment(), **vars(scores)), out=out, html=html)
    print(json_format.dumps(scores.rows[0]) if json else generation_table(scores.rows[0]))


@dataclass(frozen=True, kw_only=True)
class FeatureReader:
    """The networks that read pictures as sets."""

    network: "FeatureNetwork"
    semantics: "Semantics | None"
    device: "torch.device"
    batch_size: int

    @classmethod
    def prepare(
        cls, network: NetworkChoice, *, device: str, batch_size: int, judged: bool
    ) -> "FeatureReader":
        """Load the networks; the judges of captions only when there are captions."""
        where = scoring_device(device)
        reader = network.load(where)
        return cls(
            network=reader,
            semantics=load_semantics(reader, where) if judged else None,
            device=where,
            batch_size=batch_size,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What a reader of the numbers must know of how they were made."""
        from textok.pixels import UINT8_RULE

        return {
            "task": "generation",
            "feature_network": self.network.name,
            "two_tower": None if self.semantics is None else self.semantics.two_tower.model_id,
            "crop": CROP,
            "filter": "lanczos",
            "uint8": UINT8_RULE,
        }

    def read(self, pictures: PictureSet, *, judged: bool = False) -> "PictureFeatures":
        """Features of a set, with a progress bar on stderr."""
        from tqdm import tqdm

        from textok.evaluation.generation import read_features

        with tqdm(total=len(pictures), desc=Path(pictures.name).name, unit="image") as bar:
            return read_features(
                pictures.batches(self.batch_size),
                network=self.network,
                device=self.device,
                semantics=self.semantics if judged else None,
                progress=bar.update,
            )


def _write_adm(
    pictures: PictureSet, made: "PictureFeatures", *, samples: Path | None, statistics: Path | None
) -> None:
    """The files for published evaluators, where they are asked for."""
    import torch

    from textok.evaluation import adm

    if samples is not None:
        adm.write_samples(samples, torch.cat([batch.images for batch in pictures.batches(WRITE_BATCH)]))
    if statistics is not None:
        adm.write_statistics(statistics, made.statistics)


def _settings(
    samples: PictureSet, reference: Reference, train: PictureSet | None, *, stored: bool
) -> dict[str, Any]:
    """What a reader of the numbers must know of the pictures."""
    return {
        "samples": samples.settings,
        "reference": reference.settings,
        "frechet_distance_to": "the reference's mu and sigma" if stored else "the reference's pictures",
        "train": None if train is None else train.settings,
    }


def _write(result: "Result", *, out: Path | None, html: Path | None) -> None:
    """The result file and the page, where they are asked for."""
    from textok.evaluation.pages.generation_page import render_generation
    from textok.evaluation.results import write_result
    from textok.writing import write_text

    if out is not None:
        write_result(out, **vars(result))
    if html is not None:
        write_text(html, render_generation(result))


def _check_place(captions: Path | None, *, no_semantics: bool) -> None:
    if captions is not None and no_semantics:
        raise ValueError("captions: nothing reads them with no_semantics; give one of the two")
    if place().count > 1:
        raise ValueError(
            f"generation: got {place().count} processes; expected one: start it without torchrun"
        )


def generation_table(row: "Row") -> str:
    """A line a score, with which way is better."""
    from textok.evaluation.metric_names import meaning

    told = {name: meaning(name).advice for name in row}
    cells = [
        [name, shown(value), "" if told[name] == name.replace("_", " ") else told[name]]
        for name, value in row.items()
    ]
    return text_table(cells, heads=["score", "value", "what it is"])
