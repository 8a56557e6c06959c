"""Validation of a tokenizer's training: scores and pictures of the EMA weights, and the exported model."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from textok.data import TrainLoader
from textok.data.loading import MixedLoader
from textok.data.samples import Batch
from textok.evaluation.captioned import CONDITIONS, CaptionCondition, CaptionedPictures, lends_captions
from textok.evaluation.evaluator import Evaluator
from textok.evaluation.metrics.paired import MIN_FRECHET
from textok.evaluation.networks import EffNetLite2, FeatureNetwork
from textok.evaluation.pages.grids import reconstruction_grid, save_picture
from textok.evaluation.results import Row, meaning
from textok.models.config_json import encode_config
from textok.models.tokenizer import TexTok
from textok.pipeline.image_tokenizer import encode_pixels
from textok.pipeline.text import CachedText
from textok.training.run_folder import RunFolder, environment
from textok.training.tokenizer.config import TokenizerRun

Loader = TrainLoader | MixedLoader


class Validation:
    """Evaluates the EMA weights on held-out pictures and keeps the best."""

    def __init__(
        self,
        run: TokenizerRun,
        pictures: CaptionedPictures,
        text: CachedText | None,
        *,
        loader: Loader,
        autocast: torch.dtype,
    ) -> None:
        self.config, self.pictures, self.text = run.validation, pictures, text
        self.loader, self.autocast = loader, None if autocast == torch.float32 else autocast
        self.run_config = run
        self.captions: tuple[CaptionCondition, ...] = CONDITIONS if text is not None else ("none",)
        if not lends_captions(pictures.captions):  # nobody has a wrong caption to lend
            self.captions = tuple(caption for caption in self.captions if caption != "wrong")
        if run.validation.best_by.startswith("fd_") and len(pictures) < MIN_FRECHET:
            raise ValueError(
                f"validation.best_by: {run.validation.best_by} needs {MIN_FRECHET} pictures, {pictures.split} has "
                f"{len(pictures)}; use perceptual_effnet_lite2"
            )
        most = run.model.num_latents
        self.budgets = tuple(k for k in run.validation.budgets if k <= most) or (most,)
        self.network: FeatureNetwork | None = None
        self.best: dict[str, float] = {}

    def run(self, model: TexTok, folder: RunFolder, *, step: int, accelerator: Accelerator) -> None:
        """Score, log, draw, and export the weights when they are the best so far; all ranks call."""
        self.network = self.network or EffNetLite2().to(accelerator.device)
        evaluator = Evaluator(
            model=model,
            text=self.text,
            network=self.network,
            batch_size=self.config.batch_size,
            autocast=self.autocast,
        )
        looks: dict[str, Any] = {"budgets": self.budgets, "captions": self.captions}
        rank, world = accelerator.process_index, accelerator.num_processes
        scores = evaluator.score(self.pictures, rank=rank, world_size=world, **looks)
        if not accelerator.is_main_process:
            return
        folder.log(step, {f"val/{k}": v for row in scores.rows for k, v in flat(row).items()})
        drawn = self.pictures.spread(self.config.pictures)
        grid = reconstruction_grid(drawn, evaluator.reconstruct(drawn, **looks))
        save_picture(grid, folder.path / "grids" / f"step-{step:08d}.png")
        self._keep_best(model, folder, scores.rows, step=step)

    def state_dict(self) -> dict[str, Any]:
        """The best score so far and its step."""
        return self.best

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved best score."""
        self.best = state

    def _keep_best(self, model: TexTok, folder: RunFolder, rows: list[Row], *, step: int) -> None:
        metric = self.config.best_by
        values = [float(row[metric]) for row in rows if row["captions"] == self.captions[0]]
        value = sum(values) / len(values)
        sign = meaning(metric).better
        if not self.best or sign * value > sign * self.best["value"]:
            self.best = {"step": step, "value": value}
            self._save(model, folder.path / "best", made_by={"step": step, metric: value})

    def export(self, model: TexTok, folder: RunFolder, *, step: int) -> None:
        """Write the EMA weights to the run's ``weights`` folder."""
        made_by = {"run": encode_config(self.run_config), "step": step, "environment": environment()}
        self._save(model, folder.path / "weights", made_by=made_by)

    def _save(self, model: TexTok, folder: Path, *, made_by: dict[str, Any]) -> None:
        """With the mean and standard deviation per channel of latents of training pictures with their captions."""
        device = next(model.parameters()).device
        model.eval()
        model.latent_mean.zero_()
        model.latent_std.fill_(1.0)
        parts = []
        for batch in first_batches(self.loader):
            condition = None if self.text is None else self.text(batch.captions).to(device)
            parts.append(encode_pixels(model, batch.images, condition).latents.flatten(0, 1))
        latents = torch.cat(parts).double()
        model.latent_mean.copy_(latents.mean(0))
        model.latent_std.copy_(latents.std(0).clamp(min=1e-6))
        model.save_pretrained(folder, name=self.run_config.name, made_by=made_by)


def flat(row: Row) -> dict[str, float]:
    """Metrics of one row, named ``CAPTIONS/BUDGET/METRIC``."""
    where = f"{row['captions']}/{row['budget']}"
    return {f"{where}/{name}": float(v) for name, v in row.items() if isinstance(v, float)}


def first_batches(loader: Loader, *, count: int = 1024) -> list[Batch]:
    """The first training pictures in the order of the run's seed, for latent statistics; bad ones replaced."""
    config = replace(loader.config, on_bad="skip", max_bad_share=1.0, workers=0)
    size = min(64, len(loader.source))
    shuffled = TrainLoader(config, batch_size=size, seed=loader.seed, source=loader.source)
    return list(islice(shuffled, max(1, min(count, len(loader.source)) // size)))
