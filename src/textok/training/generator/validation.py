"""Validation of a generator's training: the loss on held-out latents, a grid of pictures, and the exported model."""

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from textok.data.latents import LatentCache, Manifest
from textok.evaluation.pages.grids import sample_grid, save_picture
from textok.models.checkpoint import CLASS_CAPTIONS_FILE, weights_hash
from textok.models.conditions import ConditionConfig
from textok.models.config_json import encode_config
from textok.models.generators import Generator, build_generator
from textok.pipeline.generation import Pipeline
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.sampling.random import seeded
from textok.training.generator.config import GeneratorRun, fitted_condition
from textok.training.generator.step import MicroRows, condition_of, loss_of
from textok.training.parallel import Replicated
from textok.training.run_folder import RunFolder, environment
from textok.writing import write_json

HELD_OUT_BATCH = 64


class Validation:
    """Scores and draws with the EMA weights; the grid's tokenizer is loaded when it is first needed."""

    def __init__(
        self, run: GeneratorRun, cache: LatentCache, *, accelerator: Accelerator, parallel: Replicated
    ) -> None:
        manifest = cache.manifest
        self.run_config, self.config = run, run.preview
        self.accelerator, self.parallel = accelerator, parallel
        self.budgets = [k for k in self.config.budgets if k <= manifest.num_latents] or [manifest.num_latents]
        self.held_out = _held_out(self.config.held_out, manifest, run.model.condition)
        self.class_captions = cache.class_captions() if run.model.condition.kind == "class" else {}
        self.tokenizer: ImageTokenizer | None = None
        if self.config.tokenizer != "none" and accelerator.is_main_process:
            source = self.config.tokenizer or manifest.tokenizer_source
            try:  # now, not after hours of training
                self.tokenizer = ImageTokenizer.from_pretrained(source, device=accelerator.device)
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    f"{error} (preview.tokenizer: say where the tokenizer is, or none for no pictures)"
                ) from error

    def run(self, averaged: nn.Module, folder: RunFolder, *, step: int) -> None:
        """Log the held-out loss, draw the grid; all ranks call, rank 0 works."""
        model = self._whole(averaged)
        if model is None:
            return
        model = model.to(self.accelerator.device).eval()
        if self.held_out is not None:
            folder.log(step, self.held_out_losses(model))
        if self.tokenizer is not None:
            self._draw(model, self.tokenizer, folder.path / "grids" / f"step-{step:08d}.png")

    def export(self, averaged: nn.Module, folder: RunFolder, *, step: int) -> None:
        """Write the EMA weights to the run's ``weights`` folder; all ranks call, rank 0 writes.

        A class-conditional generator gets the captions of its classes, one of which the decoder reads.
        """
        model, run, weights = self._whole(averaged), self.run_config, folder.path / "weights"
        if model is None:
            return
        sampling = {"steps": self.config.steps, "guidance": self.config.guidance}
        made_by = {
            "run": encode_config(run),
            "step": step,
            "sampling": sampling,
            "environment": environment(),
        }
        model.save_pretrained(weights, name=run.name, made_by=made_by)
        if run.model.condition.kind == "class":
            write_json(weights / CLASS_CAPTIONS_FILE, self.class_captions)

    def _whole(self, averaged: nn.Module) -> Generator | None:
        """A model of its own from the weights of all ranks, on rank 0."""
        weights = self.parallel.whole(averaged)
        if not self.accelerator.is_main_process:
            return None
        model = build_generator(self.run_config.model)
        model.load_state_dict(weights)
        return model

    @torch.no_grad()
    def held_out_losses(self, model: Generator) -> dict[str, float]:
        """The loss at every budget, with the same noise and times each time."""
        assert self.held_out is not None
        rows = min(len(self.held_out), self.config.count)
        losses = {}
        for budget in self.budgets:
            draws = seeded(self.run_config.seed, 0, f"held out {budget}")
            total = 0.0
            for start in range(0, rows, HELD_OUT_BATCH):
                batch = self.held_out.batch(range(start, min(start + HELD_OUT_BATCH, rows)))
                tokens = batch.latents if batch.codes is None else batch.codes
                assert tokens is not None  # a batch has one of them
                tokens = tokens[:, :budget].to(self.accelerator.device)
                condition = condition_of(batch, kind=self.run_config.model.condition.kind).to(tokens.device)
                part = MicroRows(tokens, condition, lengths=None, draws=draws, share=1.0, last=True)
                with self.accelerator.autocast():
                    total += float(loss_of(model, part, self.run_config)) * len(batch.keys)
            losses[f"val/loss_k{budget}"] = total / rows
        return losses

    def _draw(self, model: Generator, tokenizer: ImageTokenizer, path: Path) -> None:
        """A row for each prompt (or class), a column for each budget; the same noise in all columns."""
        place: dict[str, Any] = {"device": self.accelerator.device, "dtype": "float32"}
        pipeline = Pipeline(model, tokenizer, class_captions=self.class_captions, **place)
        settings: dict[str, Any] = {"steps": self.config.steps, "guidance": self.config.guidance}
        if self.run_config.model.condition.kind == "class":
            count = min(len(self.config.prompts), self.run_config.model.condition.num_classes)
            names, request = [f"class {i}" for i in range(count)], {"labels": list(range(count))}
        else:
            names, request = list(self.config.prompts), {"prompts": list(self.config.prompts)}
        columns = [pipeline(num_tokens=k, output="uint8", **request, **settings) for k in self.budgets]
        titles = [f"{k} tokens" for k in self.budgets]
        save_picture(sample_grid(torch.stack(columns, dim=1), rows=names, columns=titles), path)


def _held_out(folder: str | None, manifest: Manifest, condition: ConditionConfig) -> LatentCache | None:
    if folder is None:
        return None
    try:
        cache = LatentCache.open(folder)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error} (preview.held_out: another folder, or None)") from error
    if weights_hash(cache.manifest.tokenizer) != weights_hash(manifest.tokenizer):
        raise ValueError(
            f"preview.held_out: {folder} holds latents of {cache.manifest.tokenizer}, the training cache those of "
            f"{manifest.tokenizer}; cache both with one tokenizer"
        )
    fitted_condition(condition, cache.manifest, data=f"preview.held_out: {folder}")
    return cache
