"""``textok evaluate generation`` and ``textok evaluate generator``: how good generated pictures are."""

import json as json_format
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from tyro.conf import Positional, arg

from textok.cli import checks
from textok.cli.distributed import check_single_process, note, open_device
from textok.cli.options import BadPictures, Json, Model, ModelOptions, optional
from textok.cli.output import score_table, shown, text_table
from textok.data import EvalLoader
from textok.data.samples import report_bad, write_bad
from textok.display import Progress
from textok.evaluation import adm, generation, networks, picture_sets
from textok.evaluation.alignment import Semantics
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.generation import FEATURE_BATCH, FeatureReader, PictureFeatures
from textok.evaluation.metrics.paired import MIN_FRECHET
from textok.evaluation.metrics.sets import FeatureStatistics
from textok.evaluation.networks import FeatureNetwork
from textok.evaluation.reconstruction import check_budgets
from textok.evaluation.results import Row, meaning, write_result
from textok.pipeline.generation import Pipeline
from textok.sampling.flow import Guidance
from textok.training.run_folder import environment


@dataclass(frozen=True, kw_only=True)
class NetworkChoice:
    """Which network the learned metrics read pictures with."""

    network: Literal["effnet_lite2", "inception_2015", "dinov2", "clip"] = "effnet_lite2"
    """its name is part of the metrics' names; effnet_lite2 comes with the package"""
    network_weights: Annotated[str | None, optional("PATH")] = None
    """weights of the others: a file (inception_2015), a folder or a hub id (dinov2, clip)"""

    def load(self, device: torch.device) -> FeatureNetwork:
        """The network, ready to use."""
        network: Any = networks.load_network(self.network, weights=self.network_weights)
        return network.to(device)

    def reader(self, device: torch.device, *, semantics: bool) -> FeatureReader:
        """The network with the judges of captions, where asked."""
        network = self.load(device)
        judges = Semantics.from_pretrained(network=network, device=device) if semantics else None
        return FeatureReader(network=network, semantics=judges, device=device)


Network = Annotated[NetworkChoice, arg(name="")]


@dataclass(frozen=True, kw_only=True)
class ScoringOptions(BadPictures):
    """What the scores of generated pictures need besides these and real ones, and where they are written."""

    train: Annotated[str | None, optional("SOURCE")] = None
    """the training pictures, to find copies of them; the real ones must be others"""
    train_split: Annotated[str | None, optional("NAME")] = None
    """which part of them"""
    out: Annotated[Path | None, optional("FILE.json")] = None
    """result file: settings, rows, and the values of every picture"""
    seed: int = 0
    """of the noise of pictures that are drawn, the floor's halves and the kernel distance's subsets"""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.seed(self.seed)
        checks.needs(absent=self.train is None, by="train", train_split=self.train_split)
        checks.files(out=self.out)

    def open_train(self, **reading: Any) -> EvalLoader | None:
        """The training pictures, where they are given."""
        return (
            picture_sets.open_pictures(self.train, split=self.train_split, **reading) if self.train else None
        )


@dataclass(frozen=True, kw_only=True)
class GenerationOptions(ScoringOptions):
    """Which pictures are scored, against which others, and what is written."""

    samples: Annotated[Positional[str], arg(metavar="SAMPLES")]
    """a folder of pictures (with metadata.jsonl or .txt captions), another source, or an ADM .npz"""
    reference: Annotated[str, arg(metavar="SOURCE")]
    """real pictures: any source, or an ADM .npz of pictures, of mean and covariance, or of both"""
    reference_split: Annotated[str | None, optional("NAME")] = None
    """which part of the reference, such as test-drawing"""
    captions: Annotated[Path | None, optional("FILE.json")] = None
    """the samples' captions, a JSON object {key: caption} or a list in their order"""
    write_samples: Annotated[Path | None, optional("FILE.npz")] = None
    """write the samples as an ADM .npz for published evaluators"""
    write_statistics: Annotated[Path | None, optional("FILE.npz")] = None
    """write mean and covariance of their features as an ADM .npz"""
    size: Annotated[tuple[int, int] | None, optional("H W", "that of the first sample")] = None
    """height and width that all pictures are resized and cropped to"""
    no_semantics: bool = False
    """leave out whether the samples show what their captions say"""
    batch_size: int = 32
    """pictures at a time"""
    device: str = "auto"
    """cpu, cuda, cuda:1; auto takes cuda where there is one"""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least(1, batch_size=self.batch_size)
        checks.size(self.size)
        checks.files(write_samples=self.write_samples, write_statistics=self.write_statistics)
        if self.captions is not None and self.no_semantics:
            raise ValueError(
                f"captions: got {self.captions} with no_semantics, which reads none; give one of the two"
            )


def evaluate_generation(
    options: Annotated[GenerationOptions, arg(name="")], network: Network, *, json: Json = False
) -> None:
    """Score generated pictures: distance to real ones, quality, coverage, captions, and copying."""
    check_single_process()
    out = options.out
    reading: dict[str, Any] = {"batch_size": options.batch_size, **options.policy}
    write_bad(out, [])
    generated = picture_sets.open_pictures(
        options.samples, size=options.size, captions=options.captions, **reading
    )
    reading["size"] = generated.config.size
    real = picture_sets.open_set(options.reference, split=options.reference_split, **reading)
    trained_on = options.open_train(**reading)
    generation.check_count(len(generated.source))
    judged = any(generated.source.captions()) and not options.no_semantics
    reader = network.reader(open_device(options.device, float64=True), semantics=judged)
    statistics = _stored_statistics(real, reader.network, options)
    features = read_pictures(reader, generated, judged=judged, out=out)
    _write_adm(generated, features, samples=options.write_samples, statistics=options.write_statistics)
    scores = generation.evaluate_generation(
        features,
        read_pictures(reader, real.pictures, out=out) if real.pictures else None,
        split=options.reference_split or Path(options.reference.rstrip("/")).stem,
        reader=reader,
        statistics=statistics,
        train=read_pictures(reader, trained_on, out=out) if trained_on else None,
        seed=options.seed,
    )
    settings = reader.settings | {
        "samples": picture_sets.settings_of(generated),
        "train": trained_on and picture_sets.settings_of(trained_on),
        "reference": real.settings,
        "frechet_distance_to": f"the reference's {'pictures' if statistics is None else 'mu and sigma'}",
        "size": list(generated.config.size),
        "seed": options.seed,
    }
    if out is not None:
        write_result(out, settings=settings, made_by=environment(), **vars(scores))
    print(json_format.dumps(scores.rows[0]) if json else generation_table(scores.rows[0]))


def read_pictures(
    reader: FeatureReader, pictures: EvalLoader, *, judged: bool = False, out: Path | None = None
) -> PictureFeatures:
    """Features of a set, with a progress bar on stderr; bad pictures are reported, and listed beside ``out``."""
    with Progress(len(pictures.source), unit="image", title=Path(pictures.config.source).name) as bar:
        features = reader.read(pictures, judged=judged, progress=bar.update)
    report_bad(pictures.bad.samples, out)
    return features


def _write_adm(
    pictures: EvalLoader, features: PictureFeatures, *, samples: Path | None, statistics: Path | None
) -> None:
    if samples is not None:
        adm.write_samples(samples, torch.cat([batch.images for batch in pictures]))
    if statistics is not None:
        adm.write_statistics(statistics, features.statistics)


def generation_table(row: Row) -> str:
    """One line per score, with which way is better."""
    advice = {name: meaning(name).advice for name in row}
    about = {name: "" if words == name.replace("_", " ") else words for name, words in advice.items()}
    cells = [[name, shown(value), about[name]] for name, value in row.items()]
    return text_table(cells, heads=["score", "value", "what it is"])


def _stored_statistics(
    reference: picture_sets.PictureSet, network: FeatureNetwork, options: GenerationOptions
) -> FeatureStatistics | None:
    """The file's own mean and covariance, where they are of this network's features; says what is left out.

    ``ValueError`` when they are all that there is, and of another network, or not enough for a copying check.
    """
    name, statistics = options.reference, reference.statistics
    if reference.pictures is None:
        if options.train is not None:
            raise ValueError(
                f"train: got {options.train}, but {name} holds mean and covariance only, and the copying check "
                "compares with real pictures; give a reference with pictures, or leave train out"
            )
        note(f"{name}: holds mean and covariance only; left out: {picture_sets.NEED_PICTURES}")
    if statistics is None or statistics.dim == network.dim:
        return statistics
    if reference.pictures is None:
        raise ValueError(
            f"{name}, mu: got {statistics.dim} channels, expected the {network.dim} of {network.name}; "
            "choose the network that the statistics are of by the option network"
        )
    note(
        f"{name}, mu: got {statistics.dim} channels, and {network.name} has {network.dim}: "
        "the Fréchet distance is taken to the pictures of the file"
    )
    return None


_MODEL = ModelOptions(batch_size=16)


def evaluate_generator(
    options: Annotated[ScoringOptions, arg(name="")],
    network: Network,
    model: Model = _MODEL,
    *,
    data: Annotated[str, arg(metavar="SOURCE")],
    split: Annotated[str | None, optional("NAME")] = None,
    tokenizer: Annotated[str | None, optional("MODEL")] = None,
    budgets: Annotated[tuple[int, ...], optional(default="a quarter, half and all of the model's")] = (),
    guidance: tuple[float, ...] = (1.0, 3.0),
    steps: Annotated[int | None, optional("INT", "the model's")] = None,
    limit: Annotated[int | None, optional("INT", "all")] = None,
    json: Json = False,
) -> None:
    """Score a text-conditional generator: one picture for each caption of a held-out split, set against the real ones.

    Args:
        data: captioned pictures that it was not trained on.
        split: the part of them.
        tokenizer: the generator's tokenizer, when it is not where it was at training.
        budgets: tokens per picture.
        guidance: scales of classifier-free guidance.
        steps: of the sampler.
        limit: take only so many captions, spread over the split.
    """
    checks.at_least(1, steps=steps)
    checks.at_least(MIN_FRECHET, limit=limit)
    check_single_process()
    out, seed = options.out, options.seed
    scales = [Guidance(scale=scale).scale for scale in dict.fromkeys(guidance)]
    device = open_device(model.device, float64=True)
    pipeline = _open_pipeline(model, tokenizer=tokenizer, device=device, steps=steps)
    most = pipeline.generator.config.num_latents
    chosen = check_budgets(budgets or (max(1, most // 4), max(1, most // 2), most), max_tokens=most)
    cells = list(product(chosen, scales))
    side = pipeline.tokenizer.model.config.image_size
    write_bad(out, [])
    reading: dict[str, Any] = {"batch_size": FEATURE_BATCH, "size": (side, side), **options.policy}
    held_out = picture_sets.open_pictures(data, split=split, **reading)
    if not any(held_out.source.captions()):
        raise ValueError(f"data: got {data}, whose pictures have no captions, expected captions to draw")
    trained_on = options.open_train(**reading)
    reader = network.reader(device, semantics=True)
    reference = read_pictures(reader, held_out, out=out)
    train_features = read_pictures(reader, trained_on, out=out) if trained_on else None
    prompts = CaptionedPictures.collect(split or Path(data).name, held_out)
    prompts = prompts if limit is None else prompts.spread(limit)
    with Progress(len(prompts) * len(cells), unit="image", title="samples") as bar:
        scores = generation.score_generator(
            pipeline,
            prompts,
            cells,
            reader=reader,
            reference=reference,
            train=train_features,
            batch_size=model.batch_size,
            seed=seed,
            progress=bar.update,
        )
    if out is not None:
        settings = reader.settings | {"model": pipeline.model_id, "precision": str(pipeline.dtype)}
        settings |= {"tokenizer": pipeline.tokenizer.model_id, "budgets": chosen, "guidance": sorted(scales)}
        settings |= {"sampling": pipeline.defaults.record(pipeline.generator), "seed": seed, "limit": limit}
        settings |= {
            "reference": picture_sets.settings_of(held_out),
            "train": trained_on and picture_sets.settings_of(trained_on),
        }
        write_result(out, settings=settings, made_by=environment(), **vars(scores))
    heads = {name: "tokens" if name == "budget" else name for name in scores.rows[0]}
    print(json_format.dumps(scores.rows) if json else score_table(scores.rows, heads))


def _open_pipeline(
    options: ModelOptions, *, tokenizer: str | None, device: torch.device, steps: int | None
) -> Pipeline:
    pipeline = Pipeline.from_pretrained(
        options.model, tokenizer=tokenizer, device=device, dtype=options.dtype
    )
    if pipeline.generator.config.condition.kind != "text":
        raise ValueError(
            f"model: got {options.model}, which is conditioned on classes, expected a generator of pictures from "
            "captions"
        )
    if steps is not None:
        pipeline.defaults = pipeline.defaults.changed(pipeline.generator, steps=steps)
    return pipeline
